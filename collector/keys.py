"""Who may send, and for which site.

A *write key* is public: it stands in a page, so it comes with the origins it may be used from and a low rate. A *server key* is a
secret: the keys file holds its SHA-256 only, which is enough because the secret has 256 random bits. Two keys of one site may be valid at
once, so a key can be replaced without a gap: make the new one, change the senders, delete the old one, send the collector SIGHUP.
"""

import hashlib
import hmac
import re
import secrets
from collections.abc import Iterable, Mapping
from typing import Annotated, Any, Final, Literal
from urllib.parse import urlsplit

import msgspec
import yaml
from msgspec import Meta

from streams import strict_yaml
from streams.events import SITE_FORM
from streams.sites import SITE_NAME

WRITE, SERVER = "wk_", "sk_"
RATES: Final = {"write": 100.0, "server": 10_000.0}
"""Events per second where the keys file says nothing; ten seconds' worth may come at once."""
BURST_SECONDS: Final = 10.0
_NAME: Final = re.compile(r"[a-z0-9][a-z0-9-]{0,31}")
_SERVER_KEY: Final = re.compile(rf"{SERVER}([a-z0-9][a-z0-9-]{{0,31}})_([A-Za-z0-9_-]{{1,86}})")
_IN_BODY: Final = re.compile(rb'"(?:api_key|writeKey)"\s*:\s*"(sk_[A-Za-z0-9_-]{1,128})"')
ENDS: Final = 4_096
"""Bytes at each end of a body where SDKs put their key."""
_HASH: Final = re.compile(r"sha256:[0-9a-f]{64}")
_WRITE_KEY: Final = re.compile(r"[A-Za-z0-9_-]{8,100}")


class KeysError(ValueError):
    """A keys file that cannot be used; the text says what to change."""


class Key(msgspec.Struct, frozen=True, kw_only=True, forbid_unknown_fields=True):
    """One entry of the keys file."""

    name: str
    kind: Literal["write", "server"]
    site: str
    key: str | None = None
    """The text of a write key."""
    hash: str | None = None
    """`sha256:` and 64 hexadecimal digits: of a server key."""
    origins: tuple[str, ...] = ()
    """Of a write key: `https://shop.example`; empty means any, and then also senders that are no browser."""
    rate: Annotated[float, Meta(gt=0, le=10**9)] | None = None

    @property
    def events_per_second(self) -> float:
        return RATES[self.kind] if self.rate is None else self.rate

    @property
    def burst(self) -> float:
        return self.events_per_second * BURST_SECONDS

    def admits(self, origin: str | None) -> bool:
        """Whether it may be used from a page of this origin (None: not from a page, as far as the request says)."""
        return not self.origins or (origin is not None and origin.lower() in self.origins)


class _KeysFile(msgspec.Struct, frozen=True, forbid_unknown_fields=True):
    keys: tuple[Any, ...] | None = None


class Keys:
    """The keys that are valid."""

    def __init__(self, keys: Iterable[Key] = ()) -> None:
        self.all = tuple(keys)
        self._write: Mapping[str, Key] = {key.key: key for key in self.all if key.key is not None}
        self._server: Mapping[str, Key] = {key.name: key for key in self.all if key.kind == "server"}

    def find(self, text: str) -> Key | None:
        """The key with this text; None where there is none. How long it takes says nothing about a secret."""
        if (match := _SERVER_KEY.fullmatch(text)) is None:
            return self._write.get(text)
        known = self._server.get(match[1])
        expected = known.hash if known is not None and known.hash is not None else digest("")
        same = hmac.compare_digest(expected, digest(text))
        return known if same else None


def server_key_in(body: bytes) -> str | None:
    """What looks like a server key at one end of a body that is not parsed yet."""
    match = _IN_BODY.search(body, 0, ENDS) or _IN_BODY.search(body, max(0, len(body) - ENDS))
    return None if match is None else match[1].decode()


def digest(text: str) -> str:
    """How a server key stands in the keys file."""
    return "sha256:" + hashlib.sha256(text.encode()).hexdigest()


def load_keys(text: str, name: str = "keys file") -> Keys:
    """Read a keys file (YAML: `keys:` and a list); raises KeysError with what to change."""
    try:
        content = strict_yaml.load(text)
        entries = msgspec.convert({} if content is None else content, _KeysFile).keys or ()
    except ValueError as error:
        raise KeysError(f"{name}: {error}. It holds `keys:` and a list; `engage keys create` writes its entries.") from None
    keys = [_key(entry, f"{name}: key {number}") for number, entry in enumerate(entries, 1)]
    for what, values in (("name", [key.name for key in keys]), ("key", [key.key for key in keys if key.key is not None])):
        if twice := {value for value in values if values.count(value) > 1}:
            raise KeysError(f"{name}: the {what} {min(twice)!r} is given twice; names are yours to choose (`--name`).")
    return Keys(keys)


def _key(entry: Any, where: str) -> Key:
    try:
        key = msgspec.convert(entry, Key)
    except msgspec.ValidationError as error:
        raise KeysError(f"{where}: {error}; fields: {', '.join(Key.__struct_fields__)}.") from None
    where = f"{where} ({key.name})"
    if not SITE_NAME.fullmatch(key.site):
        raise KeysError(f"{where}: site {key.site!r}: a site's name {SITE_FORM}.")
    if not _NAME.fullmatch(key.name):
        raise KeysError(f"{where}: a name is up to 32 of a-z, 0-9 and dash, the first a letter or digit.")
    if key.kind == "server" and (key.hash is None or not _HASH.fullmatch(key.hash) or key.key is not None or key.origins):
        raise KeysError(f"{where}: a server key has a `hash` (sha256: and 64 hexadecimal digits), and neither `key` nor `origins`.")
    if key.kind == "write" and (key.key is None or not _WRITE_KEY.fullmatch(key.key) or _SERVER_KEY.fullmatch(key.key) or key.hash is not None):
        raise KeysError(f"{where}: a write key has a `key` (8 to 100 letters, digits, dashes and underscores, not beginning with {SERVER}), and no `hash`.")
    return msgspec.structs.replace(key, origins=tuple(_origin(origin, where) for origin in key.origins))


def _origin(text: str, where: str) -> str:
    parts = urlsplit(text)
    if parts.scheme not in ("http", "https") or not parts.hostname or text.lower() != f"{parts.scheme}://{parts.netloc}".lower() or "@" in parts.netloc:
        raise KeysError(f"{where}: origin {text!r}: write it as a browser sends it, for instance https://shop.example, without a path.")
    return text.lower()


def create_key(name: str, kind: Literal["write", "server"], site: str, origins: Iterable[str] = (), rate: float | None = None) -> tuple[Key, str]:
    """A new key, and its text: of a server key nobody can read it again. Raises KeysError."""
    secret = secrets.token_urlsafe(32)
    text = f"{WRITE}{secrets.token_urlsafe(16)}" if kind == "write" else f"{SERVER}{name}_{secret}"
    entry: dict[str, Any] = {"name": name, "kind": kind, "site": site, "origins": [*origins], "rate": rate}
    entry |= {"key": text} if kind == "write" else {"hash": digest(text)}
    return _key(entry, "new key"), text


def entry_text(key: Key) -> str:
    """The lines of a key in the keys file."""
    fields = {name: value for name, value in msgspec.to_builtins(key).items() if value not in (None, (), [])}
    lines = yaml.safe_dump([fields], sort_keys=False, default_flow_style=False).splitlines()
    return "".join(f"  {line}\n" for line in lines)


def add_key(text: str, key: Key, name: str = "keys file") -> str:
    """The text of a keys file with one more key, everything else as it was. Raises KeysError where that would not be a keys file."""
    load_keys(text, name)
    before = text if text.strip() else "keys:\n"
    after = (before if before.endswith("\n") else before + "\n") + entry_text(key)
    try:
        grown = load_keys(after, name)
    except KeysError as error:
        raise KeysError(f"{error} Nothing was written; the new entry goes to the end of the list.") from None
    if key not in grown.all:
        raise KeysError(f"{name}: the list of keys does not stand at the end; add the entry by hand.")
    return after
