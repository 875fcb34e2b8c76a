"""`engage doctor`: what an installation needs, looked at from this machine, one finding each. Nothing is written anywhere."""

import asyncio
import sys
import time
import urllib.error
import urllib.request
from collections.abc import AsyncIterator, Iterator, Mapping
from importlib.metadata import version
from typing import Any, Final, Literal, NamedTuple

from aiokafka.admin import AIOKafkaAdminClient
from aiokafka.errors import KafkaError, for_code

from agents import admin
from agents.alerting import rule_paths
from agents.files import read_sites
from agents.reading import open_log, partition_counts
from agents.settings import PREFIX, TLS, Settings, SettingsError
from alerts.rule_files import RulesError, read_rules
from streams.panes import AHEAD_OF_RECEIPT
from streams.sites import SitesError
from streams.topics import EVENT_TOPICS

Status = Literal["ok", "warn", "fail"]

LISTEN_SECONDS: Final = 2.0
"""How long the clock check waits for an event to arrive."""
SKEW_NOTICED: Final = 5.0
"""Seconds between two clocks from which on it is worth a word; a fetch alone takes a fraction of one."""
LOG_APPEND_TIME: Final = 1
"""Kafka's number for a timestamp that the broker wrote."""
ASK_SECONDS: Final = 3.0
GROUP_ENDED: Final = ("Dead", "Empty")


class Check(NamedTuple):
    """One thing looked at: what was found, and what to do where it is not right."""

    name: str
    status: Status
    found: str
    remedy: str = ""
    fatal: bool = False
    """Nothing works like this: a setting that cannot be used, a broker that cannot be reached."""

    def fields(self) -> dict[str, str]:
        return {"check": self.name, "status": self.status, "found": self.found, "remedy": self.remedy}


def exit_code(checks: list[Check]) -> int:
    """0 all right, 1 something to do, 2 nothing works like this."""
    return 2 if any(check.fatal for check in checks) else int(any(check.status != "ok" for check in checks))


async def examine(environ: Mapping[str, str]) -> AsyncIterator[Check]:
    """Everything, what needs no broker first."""
    for check in check_versions():
        yield check
    try:
        settings = Settings.from_env(environ)
        settings.client_kwargs()
    except SettingsError as error:
        yield Check("settings", "fail", str(error), "Correct the variable; docs/brokers.md lists all.", fatal=True)
        return
    yield check_settings(settings)
    yield check_sites(settings)
    yield check_rules(settings)
    async for check in check_alertmanagers(settings):
        yield check
    try:
        started = time.monotonic()
        await admin.reach(settings)
        yield Check("broker", "ok", f"{settings.broker} answers after {1000 * (time.monotonic() - started):.0f} ms ({settings.security})")
        async for check in _of_broker(settings):
            yield check
    except (admin.UnreachableError, admin.RefusedError) as error:
        found, _, remedy = str(error).partition(". ")
        yield Check("broker", "fail", found, remedy, fatal=True)
    yield await check_worker(settings)


async def _of_broker(settings: Settings) -> AsyncIterator[Check]:
    client = AIOKafkaAdminClient(**settings.client_kwargs(), request_timeout_ms=int(admin.TIMEOUT_SECONDS * 1000))
    try:
        await client.start()
        embedded = await admin.is_embedded(client)
        if embedded:
            yield Check("cluster", "warn", "this is the embedded broker: it keeps nothing after it stops", "For more than trying, take a real Kafka.")
        findings = await admin.check_topics(settings)
        for finding in findings:
            yield Check("topics", "fail" if finding.fatal else "warn", str(finding)[: -len(finding.remedy) - 2], finding.remedy)
        if not findings:
            times = "they keep the producer's time" if embedded else "events carry the broker's time of append"
            yield Check("topics", "ok", f"all topics {settings.topic('*')} with {settings.partitions} partitions; {times}")
        counts = await partition_counts(settings)
        if all(settings.topic(name) in counts for name in EVENT_TOPICS):
            yield await check_clock(settings)
            yield await check_group(settings, client, embedded=embedded)
    except (KafkaError, TimeoutError) as error:
        yield Check("broker", "fail", f"{settings.broker} stopped answering: {error!r}", "Look at the broker's log.", fatal=True)
    finally:
        await client.close()


# --- without a broker ------------------------------------------------------------------------------------------------


def check_versions() -> Iterator[Check]:
    """Python, the Kafka client with its C extension, Faust."""
    from agents.batches import UnsupportedClientError, check_client  # Faust takes a second to import

    running = ".".join(map(str, sys.version_info[:3]))
    old = sys.version_info < (3, 11)
    yield Check("python", "fail" if old else "ok", running, "Install Python 3.11 or newer." if old else "")
    try:
        check_client()
    except UnsupportedClientError as error:
        yield Check("aiokafka", "fail", str(error), "Install from requirements.lock.")
    else:
        yield Check("aiokafka", "ok", f"{version('aiokafka')}, with its C extension")
    yield Check("faust", "ok", version("faust-streaming"))


def check_settings(settings: Settings) -> Check:
    """That they can be used was found before; here, that passwords do not travel in clear."""
    if settings.password is not None and settings.security not in TLS:
        return Check("settings", "warn", f"the password is sent without TLS ({settings.security})", f"Set {PREFIX}SECURITY=SASL_SSL.")
    return Check("settings", "ok", f"group {settings.app_id}, topics {settings.topic('*')}, {settings.partitions} partitions")


def check_sites(settings: Settings) -> Check:
    """The sites file."""
    if settings.sites is None:
        return Check("sites", "ok", f"{PREFIX}SITES is not set: every site is taken, with defaults")
    try:
        sites = read_sites(settings)
    except SitesError as error:
        return Check("sites", "fail", str(error), "Correct the file; docs/sites.md describes it.", fatal=True)
    return Check("sites", "ok", f"{settings.sites}: {', '.join(sites.named) or 'defaults for every site'}")


def check_rules(settings: Settings) -> Check:
    """Whether the rules can be put in force; without a setting, those of the product."""
    paths = rule_paths(settings.rules)
    try:
        rules = read_rules(paths)
    except RulesError as error:
        return Check("rules", "fail", str(error), "Correct the file; `engage rules check` lists every fault.", fatal=True)
    if not paths:
        return Check("rules", "warn", f"{PREFIX}RULES is none: nothing is judged", f"Unset {PREFIX}RULES for the rules of the product.")
    return Check("rules", "ok", f"{len(rules.rules)} rules ({settings.rules or 'those of the product'})")


async def check_alertmanagers(settings: Settings) -> AsyncIterator[Check]:
    """Whether every Alertmanager that is to be told calls itself ready."""
    for address in (settings.alertmanager or "").split(","):
        if not address:
            continue
        try:
            code, text = await asyncio.to_thread(_get, f"{address.rstrip('/')}/-/ready")
        except (OSError, ValueError) as error:
            remedy = f"Start it, or correct {PREFIX}ALERTMANAGER; alerts wait until it is there."
            yield Check("alertmanager", "fail", f"{address} does not answer ({_why(error)})", remedy)
            continue
        ready = code == 200
        yield Check(
            "alertmanager", "ok" if ready else "warn", f"{address}: {f'status {code}, ' if not ready else ''}{text}", "" if ready else "Look at its log."
        )


# --- with a broker ---------------------------------------------------------------------------------------------------


async def check_clock(settings: Settings) -> Check:
    """This machine's clock against the broker's, by the time of append of what lies on the event topics.

    A record read now was appended before now, so a time of append in our future says how far the broker's clock is ahead at least; one that
    arrives while we look was appended just now, and says it in both directions. Nothing is written for it.
    """
    ahead: float | None = None
    """Seconds by which the broker's clock is ahead."""
    arrived = False
    async with open_log(settings, *EVENT_TOPICS) as log:
        ends, begins = await log.ends(), await log.begins()
        newest = {tp: max(begins[tp], end - 1) for tp, end in ends.items()}
        async for records in log.between(newest, ends):
            ahead = _ahead(records, ahead)
        try:
            async with asyncio.timeout(LISTEN_SECONDS):
                async for records in log.since(ends):
                    if (live := _ahead(records, None)) is not None:
                        ahead, arrived = live, True
                        break
        except TimeoutError:
            pass
    return judge_clock(ahead, arrived)


def judge_clock(ahead: float | None, arrived: bool) -> Check:
    """What it means that the broker's clock is so many seconds `ahead` (None: not known), exactly if an event `arrived`, else at least."""
    if ahead is None:
        return Check("clock", "ok", "not compared: no event carries the broker's time of append")
    if not arrived and ahead < SKEW_NOTICED:
        return Check("clock", "ok", f"the broker's is not ahead of ours; the newest event is {-ahead:.0f} s old, a new one would say more")
    if abs(ahead) < SKEW_NOTICED:
        return Check("clock", "ok", f"ours and the broker's agree: an event that just arrived carries our time within {abs(ahead):.1f} s")
    direction = "ahead of" if ahead > 0 else "behind"
    least = "" if arrived else "at least "
    status: Status = "fail" if abs(ahead) * 1000 >= AHEAD_OF_RECEIPT else "warn"
    remedy = "Run a time service (chrony, systemd-timesyncd) on both machines; events more than 60 s ahead of the broker's clock are clamped."
    return Check("clock", status, f"the broker's clock is {least}{abs(ahead):.0f} s {direction} this machine's", remedy)


def _ahead(records: list[Any], known: float | None) -> float | None:
    """The largest distance of a time of append from now in seconds; `known` where there is none larger."""
    now = time.time()
    found = [record.timestamp / 1000 - now for record in records if record.timestamp_type == LOG_APPEND_TIME]
    return max([*found, *([] if known is None else [known])], default=None)


async def check_group(settings: Settings, client: Any, *, embedded: bool) -> Check:
    """Whether workers are there, and how far what they made durable is behind the log."""
    async with open_log(settings, *EVENT_TOPICS) as log:
        ends, begins = await log.ends(), await log.begins()
    try:
        stored = await client.list_consumer_group_offsets(settings.app_id, partitions=list(ends))
        state, members = ("", 1) if embedded else _described(await client.describe_consumer_groups([settings.app_id]))
    except KafkaError as error:
        return Check("workers", "warn", f"group {settings.app_id} could not be looked at: {error!r}", "Grant Read on it, see docs/brokers.md.")
    reached = {tp: max(begins[tp], stored[tp].offset if tp in stored else 0) for tp in ends}
    lag = f"{(behind := sum(ends[tp] - reached[tp] for tp in ends)):,} events are not counted yet"
    if not members or state in GROUP_ENDED:
        return Check("workers", "warn", f"none is in the group {settings.app_id}; {lag}", "Start one: `engage worker`.")
    found = f"group {settings.app_id}: {lag}" if embedded else f"{members} in the group {settings.app_id} ({state}); {lag}"
    if behind > settings.max_lag:
        return Check("workers", "warn", found, f"That is more than {PREFIX}MAX_LAG={settings.max_lag}: start more workers, or wait.")
    return Check("workers", "ok", found)


def _described(answers: Any) -> tuple[str, int]:
    """State and number of members of the one group asked for; raises what Kafka answered instead."""
    code, _, state, _, _, members, *_ = answers[0].groups[0]
    if code:
        raise for_code(code)
    return state, len(members)


async def check_worker(settings: Settings) -> Check:
    """Whether a worker on this machine calls itself ready."""
    if not settings.http_port:
        return Check("worker here", "ok", f"not asked: {PREFIX}HTTP_PORT=0 takes any port")
    host = "127.0.0.1" if settings.http_host in ("0.0.0.0", "::") else settings.http_host
    url = f"http://[{host}]:{settings.http_port}/readyz" if ":" in host else f"http://{host}:{settings.http_port}/readyz"
    try:
        code, text = await asyncio.to_thread(_get, url)
    except (OSError, ValueError) as error:
        return Check("worker here", "ok", f"none answers at {url} ({_why(error)}); workers elsewhere are not asked")
    if code == 200:
        return Check("worker here", "ok", f"{url}: {text}")
    remedy = "Wait, and look at its log." if code == 503 else f"Something else answers there; set {PREFIX}HTTP_PORT to the worker's."
    return Check("worker here", "warn", f"{url}: status {code}, {text}", remedy)


def _why(error: Exception) -> str:
    """Of what urllib wraps, the words of the system."""
    cause = getattr(error, "reason", error)
    return getattr(cause, "strerror", None) or str(cause)


def _get(url: str) -> tuple[int, str]:
    opener = urllib.request.build_opener(urllib.request.ProxyHandler({}))  # the worker is here, not behind a proxy
    try:
        with opener.open(url, timeout=ASK_SECONDS) as answer:
            return int(answer.status), answer.read(200).decode(errors="replace").strip()
    except urllib.error.HTTPError as error:
        with error:
            return error.code, error.read(200).decode(errors="replace").strip()
