"""Every setting of the product: one literal table, read once from ENGAGE_* variables into one frozen value, and described without its secrets.

What belongs to one site (time zone, hosts, brands, consent ...) is not here but in the file that ENGAGE_SITES names.
"""

import difflib
import errno
import math
import re
import ssl
from collections.abc import Callable, Mapping
from pathlib import Path
from typing import Annotated, Any, Literal, NamedTuple, get_type_hints

import msgspec

from collector.limits import networks

PREFIX = "ENGAGE_"
FILE = "_FILE"
TLS = ("SSL", "SASL_SSL")
SASL = ("SASL_PLAINTEXT", "SASL_SSL")


class SettingsError(ValueError):
    """A setting that cannot be used; the text names the variable, its value and what is allowed."""


class Kind(NamedTuple):
    """How a setting is written. `read` raises ValueError for what is not allowed."""

    allowed: str
    read: Callable[[str], Any]
    secret: bool = False


def _whole(low: int, high: int) -> Kind:
    def read(text: str) -> int:
        if not low <= (value := int(text)) <= high:
            raise ValueError(text)
        return value

    return Kind(f"a whole number from {low} to {high}", read)


def _number(low: float, high: float) -> Kind:
    def read(text: str) -> float:
        if not (math.isfinite(value := float(text)) and low <= value <= high):
            raise ValueError(text)
        return value

    return Kind(f"a number from {low:g} to {high:g}", read)


def _choice(*names: str) -> Kind:
    return Kind("one of " + ", ".join(names), lambda text: names[names.index(text.upper())])


def _pattern(pattern: str, allowed: str) -> Kind:
    def read(text: str) -> str:
        if re.fullmatch(pattern, text, re.ASCII) is None:
            raise ValueError(text)
        return text

    return Kind(allowed, read)


def _switch(text: str) -> bool:
    return {"on": True, "true": True, "1": True, "off": False, "false": False, "0": False}[text.lower()]


def _networks(text: str) -> str:
    networks(text)
    return text


def _file(text: str) -> str:
    with Path(text).open("rb"):
        return text


def _paths(text: str) -> str:
    for path in text.split(",") if text != "none" else ():
        Path(path).stat()
    return text


def _url(text: str) -> str:
    if re.fullmatch(r"https?://[^/\s?#,]+(/[^\s?#,]*)?", text) is None:
        raise ValueError(text)
    return text


def _urls(text: str) -> str:
    return ",".join(_url(address) for address in text.split(","))


def _hook(text: str) -> str:
    return _url(text.partition("?")[0]) + text[len(text.partition("?")[0]) :]


_HOST = r"(?:[A-Za-z0-9._-]+|\[[0-9A-Fa-f:.]+\])"
BROKERS = _pattern(rf"{_HOST}:\d{{1,5}}(?:,{_HOST}:\d{{1,5}})*", "host:port, or several separated by commas")
NAME = _pattern(r"[A-Za-z0-9._-]{1,100}", "up to 100 letters, digits, dots, dashes and underscores")
ADDRESS = _pattern(r"[A-Za-z0-9.:_-]+", "a host name or an IP address")
EXISTING_FILE = Kind("the path of a readable file", _file)
PATHS = Kind("paths of files or directories that exist, separated by commas, or none", _paths)
SWITCH = Kind("on or off", _switch)
NETWORKS = Kind("addresses and networks such as 10.0.0.0/8, separated by commas", _networks)
URL = Kind("an absolute address such as http://engage.example:6066, without query", _url)
URLS = Kind("absolute addresses such as http://alertmanager:9093, without query, separated by commas", _urls)
HOOK = Kind("an absolute address such as https://hooks.example/alerts?room=7", _hook)
TEXT = Kind("a text", str)
SECRET = Kind("a text", str, secret=True)


class Settings(msgspec.Struct, frozen=True, kw_only=True):
    """The table: name, type, what is allowed, what it is for, and the default."""

    broker: Annotated[str, BROKERS, "Addresses of Kafka."] = "127.0.0.1:9092"
    app_id: Annotated[str, NAME, "Name of the consumer group, and prefix of the transactional ids."] = "engagement"
    topic_prefix: Annotated[str, NAME, "Begin of every topic's name."] = "engagement."
    partitions: Annotated[int, _whole(1, 1024), "Partitions of every topic. Fixed once the topics exist."] = 8
    replication: Annotated[int, _whole(1, 9), "Copies of every partition, for `engage topics create`. 3 in production."] = 1

    security: Annotated[str, _choice("PLAINTEXT", "SSL", "SASL_PLAINTEXT", "SASL_SSL"), "How Kafka is spoken to."] = "PLAINTEXT"
    sasl_mechanism: Annotated[str, _choice("PLAIN", "SCRAM-SHA-256", "SCRAM-SHA-512"), "How the password is proven."] = "SCRAM-SHA-512"
    username: Annotated[str | None, TEXT, "Name of this process at Kafka (SASL)."] = None
    password: Annotated[str | None, SECRET, "Its password."] = None
    ca_file: Annotated[str | None, EXISTING_FILE, "Authority that signed the brokers' certificates (PEM); without it the system's."] = None
    cert_file: Annotated[str | None, EXISTING_FILE, "Certificate of this process (PEM), where brokers ask for one."] = None
    key_file: Annotated[str | None, EXISTING_FILE, "Private key of that certificate (PEM, not encrypted)."] = None

    http_host: Annotated[str, ADDRESS, "Address on which metrics and health are served."] = "127.0.0.1"
    http_port: Annotated[int, _whole(0, 65535), "Their port; 0 takes any free one, for several workers on one machine."] = 6066

    flush_seconds: Annotated[float, _number(0.01, 60), "Longest time between two writes of changed state."] = 0.25
    tick_seconds: Annotated[float, _number(0.05, 60), "How often measures are read and rules judged."] = 0.5
    session_timeout: Annotated[float, _number(1, 300), "Seconds without a heartbeat after which a worker counts as dead."] = 10.0
    heartbeat: Annotated[float, _number(0.1, 100), "Seconds between two heartbeats; a third of the session timeout or less."] = 3.0
    poll_records: Annotated[int, _whole(1, 100_000), "Most records taken per partition at once."] = 5000
    watchdog_seconds: Annotated[float, _number(5, 3600), "A worker with lag and no progress for so long ends, to be started again."] = 60.0
    max_lag: Annotated[int, _whole(0, 1_000_000_000), "Records behind, from which on a worker does not call itself ready."] = 10_000
    renew_hours: Annotated[float, _number(0.01, 24), "How often the right to write a partition's state is renewed."] = 6.0

    sites: Annotated[str | None, EXISTING_FILE, "YAML file with the settings of the sites."] = None
    rules: Annotated[str | None, PATHS, "Rule files or directories, separated by commas; `none` judges nothing. Default: the rules of the product."] = None
    runbooks: Annotated[str, TEXT, "Where the pages of the default rules are found: put before their names in alerts."] = "docs/runbooks"
    alertmanager: Annotated[str | None, URLS, "Addresses of every Alertmanager instance, separated by commas."] = None
    webhook: Annotated[str | None, HOOK, "Address that is told of alerts."] = None
    webhook_secret: Annotated[str | None, SECRET, "What the webhook's requests are signed with."] = None
    external_url: Annotated[str | None, URL, "Where people find the workers, for links in alerts. Default: the address of the worker that tells."] = None
    collector_host: Annotated[str, ADDRESS, "Address on which the collector takes events."] = "127.0.0.1"
    collector_port: Annotated[int, _whole(0, 65535), "Its port; 0 takes any free one."] = 8088
    collector_keys: Annotated[str | None, EXISTING_FILE, "YAML file of the keys that may send; `engage keys create` writes it."] = None
    collector_plan: Annotated[str | None, EXISTING_FILE, "YAML file with the tracking plans of the sites."] = None
    collector_spool: Annotated[str, TEXT, "Directory for what is acknowledged while Kafka is away."] = "engagement-data/spool"
    collector_spool_bytes: Annotated[int, _whole(1 << 20, 1 << 40), "What that may hold; beyond it senders are told to come again."] = 1 << 30
    collector_proxies: Annotated[str | None, NETWORKS, "Proxies whose X-Forwarded-For is believed."] = None
    collector_address_rate: Annotated[float, _number(1, 1e6), "Requests per second taken from one address without a server key."] = 200.0
    collector_connections: Annotated[int, _whole(10, 100_000), "Connections at once; a fortieth of them from one address."] = 2000
    collector_development: Annotated[bool, SWITCH, "Whether /v1/debug shows the last events, and a key is made where there is no keys file."] = False
    instance_id: Annotated[str | None, NAME, "Fixed name of this worker (static membership); no two processes may have the same."] = None
    log_level: Annotated[str, _choice("DEBUG", "INFO", "WARNING", "ERROR"), "What is logged, to standard error."] = "INFO"

    def __post_init__(self) -> None:
        _check_together(self)

    def __repr__(self) -> str:  # the generated one would show the password
        return f"Settings({', '.join(f'{setting.name}={setting.shown(self)}' for setting in SETTINGS)})"

    @classmethod
    def from_env(cls, environ: Mapping[str, str]) -> "Settings":
        """Read ENGAGE_* variables; an empty one counts as not set. Unknown ones are refused, so that a typing error does not pass for a default."""
        allowed = {name for setting in SETTINGS for name in setting.variables}
        if unknown := sorted(name for name in environ if name.startswith(PREFIX) and name not in allowed):
            near = difflib.get_close_matches(unknown[0], allowed, 1, cutoff=0)[0]
            raise SettingsError(f"{unknown[0]} is not a setting. The nearest one is {near}; docs/brokers.md lists all.")
        return cls(**{setting.name: value for setting in SETTINGS if (value := setting.from_env(environ)) is not None})

    def describe(self) -> str:
        """One line per setting; of secrets only whether they are set."""
        return "\n".join(
            f"{setting.variable:<24} {setting.shown(self)}{' (default)' if getattr(self, setting.name) == setting.default else ''}" for setting in SETTINGS
        )

    def environment(self, inherited: Mapping[str, str]) -> dict[str, str]:
        """Variables for a child that is to read these settings: what it inherits, with these in place of any that are there."""
        own = {setting.variable: str(value) for setting in SETTINGS if (value := getattr(self, setting.name)) is not None}
        return {name: value for name, value in inherited.items() if not name.startswith(PREFIX)} | own

    def topic(self, name: str) -> str:
        """Full name of the topic with this short name."""
        return self.topic_prefix + name

    def ssl_context(self) -> ssl.SSLContext | None:
        """For SSL and SASL_SSL; the brokers' names are always verified."""
        if self.security not in TLS:
            return None
        try:
            context = ssl.create_default_context(cafile=self.ca_file)
        except ssl.SSLError as error:
            raise SettingsError(f"{PREFIX}CA_FILE is {self.ca_file!r}; allowed: a file of PEM certificates ({error}).") from None
        context.minimum_version = ssl.TLSVersion.TLSv1_2
        if self.cert_file:
            try:
                context.load_cert_chain(self.cert_file, self.key_file, password=_no_pass_phrase)
            except (ssl.SSLError, ValueError) as error:
                texts = f"{PREFIX}CERT_FILE is {self.cert_file!r} and {PREFIX}KEY_FILE {self.key_file!r}"
                raise SettingsError(f"{texts}; allowed: a PEM certificate and its private key, not encrypted ({error}).") from None
        return context

    def client_kwargs(self) -> dict[str, Any]:
        """What every aiokafka client takes to find and enter the cluster."""
        kwargs: dict[str, Any] = {"bootstrap_servers": self.broker.split(","), "security_protocol": self.security, "ssl_context": self.ssl_context()}
        if self.security in SASL:
            kwargs |= {"sasl_mechanism": self.sasl_mechanism, "sasl_plain_username": self.username, "sasl_plain_password": self.password}
        return kwargs

    def faust_broker(self) -> list[str]:
        """Faust's `broker` setting."""
        return [f"kafka://{address}" for address in self.broker.split(",")]

    def faust_credentials(self) -> Any:
        """Faust's `broker_credentials`: the same as `client_kwargs`, with the context passed explicitly."""
        from faust import auth  # Faust takes a second to import; not everything that reads settings needs it

        if self.security in SASL:
            return auth.SASLCredentials(username=self.username, password=self.password, mechanism=self.sasl_mechanism, ssl_context=self.ssl_context())
        return auth.SSLCredentials(context=self.ssl_context()) if self.security == "SSL" else None


class Setting(NamedTuple):
    """One row of the table."""

    name: str
    kind: Kind
    help: str
    default: Any

    @property
    def variable(self) -> str:
        return PREFIX + self.name.upper()

    @property
    def variables(self) -> tuple[str, ...]:
        return (self.variable, self.variable + FILE) if self.kind.secret else (self.variable,)

    def shown(self, settings: Settings) -> str:
        value = getattr(settings, self.name)
        if self.kind.secret:
            return "not set" if value is None else "set, not shown"
        return "not set" if value is None else str(value)

    def from_env(self, environ: Mapping[str, str]) -> Any:
        """The value in the environment, None when there is none."""
        text = environ.get(self.variable, "")
        if self.kind.secret and (path := environ.get(self.variable + FILE, "")):
            if text:
                raise SettingsError(f"{self.variable} and {self.variable}{FILE} are both set; give one of them.")
            return self._from_file(path)
        try:
            return self.kind.read(text) if text else None
        except (ValueError, KeyError, OSError):
            shown = "not shown here" if self.kind.secret else repr(text)
            raise SettingsError(f"{self.variable} is {shown}; allowed: {self.kind.allowed}.") from None

    def _from_file(self, path: str) -> str:
        try:
            text = Path(path).read_text(encoding="utf-8").rstrip("\r\n")
        except (OSError, ValueError):
            text = ""
        if not text:
            raise SettingsError(f"{self.variable}{FILE} is {path!r}; allowed: the path of a readable text file with the secret in it.")
        return text


def _rows() -> tuple[Setting, ...]:
    defaults = {field.name: field.default for field in msgspec.structs.fields(Settings)}
    rows = []
    for name, hint in get_type_hints(Settings, include_extras=True).items():
        kind, text = hint.__metadata__
        rows.append(Setting(name, kind, text, defaults[name]))
    return tuple(rows)


SETTINGS = _rows()


def table() -> str:
    """The table of docs/brokers.md."""

    def default(setting: Setting) -> str:
        return "" if setting.default is None else f"`{setting.default}`"

    rows = (f"| {' '.join(f'`{name}`' for name in s.variables)} | {s.kind.allowed} | {default(s)} | {s.help} |" for s in SETTINGS)
    return "\n".join(("| variable | allowed | default | what it is for |", "|---|---|---|---|", *rows))


def _check_together(s: Settings) -> None:
    """What single values cannot show."""
    if s.heartbeat * 2 > s.session_timeout:
        raise SettingsError(
            f"{PREFIX}HEARTBEAT is {s.heartbeat:g} and {PREFIX}SESSION_TIMEOUT {s.session_timeout:g}; allowed: at most half of it, better a third."
        )
    if s.security in SASL and not (s.username and s.password):
        raise SettingsError(f"{PREFIX}SECURITY is {s.security}; that needs {PREFIX}USERNAME and {PREFIX}PASSWORD (or {PREFIX}PASSWORD{FILE}).")
    if s.security not in SASL and (s.username or s.password):
        raise SettingsError(
            f"{PREFIX}USERNAME or {PREFIX}PASSWORD is set, but {PREFIX}SECURITY is {s.security} and would not use it; allowed with them: SASL_SSL."
        )
    if bool(s.cert_file) != bool(s.key_file):
        raise SettingsError(f"{PREFIX}CERT_FILE and {PREFIX}KEY_FILE are needed together; one of them is missing.")
    if s.security not in TLS and (s.ca_file or s.cert_file):
        raise SettingsError(
            f"{PREFIX}CA_FILE or {PREFIX}CERT_FILE is set, but {PREFIX}SECURITY is {s.security}, without TLS; allowed with them: SSL, SASL_SSL."
        )


def not_listening(settings: Settings, server: Literal["http", "collector"], error: OSError) -> SettingsError:
    """Why nobody can listen on the address that the settings of a server name, and what to do."""
    host, port = getattr(settings, f"{server}_host"), getattr(settings, f"{server}_port")
    variable = f"{PREFIX}{server.upper()}"
    match error.errno:
        case errno.EADDRINUSE:
            return SettingsError(f"{variable}_PORT is {port}, and somebody listens there already; allowed: a port that is free, or 0 for any free one.")
        case errno.EACCES:
            return SettingsError(f"{variable}_PORT is {port}, which this user may not listen on; allowed: a port from 1024 on, or 0 for any free one.")
        case errno.EADDRNOTAVAIL:
            return SettingsError(f"{variable}_HOST is {host!r}, which is no address of this machine; allowed: one of its own, such as 127.0.0.1.")
        case _:
            return SettingsError(f"{variable}_HOST is {host!r}, and nobody can listen there ({error.strerror or error}); allowed: an address of this machine.")


def _no_pass_phrase() -> str:
    """Asked for by ssl when a key is encrypted; without this it would ask the terminal, and a service would hang."""
    raise ValueError("the key is encrypted")
