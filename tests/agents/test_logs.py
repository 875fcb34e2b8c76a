import io
import logging
import threading
from collections.abc import Iterator

import pytest

from agents.logs import KeyValueFormatter, RateLimit, Relevance, quoted, setup_logging


@pytest.fixture
def limited() -> tuple[logging.Handler, io.StringIO, RateLimit]:
    stream = io.StringIO()
    handler = logging.StreamHandler(stream)
    handler.setFormatter(KeyValueFormatter())
    limit = RateLimit(passed=3, window=60.0)
    handler.addFilter(limit)
    return handler, stream, limit


def record(name: str, message: str, *args: object, at: float = 1000.0, level: int = logging.ERROR) -> logging.LogRecord:
    made = logging.LogRecord(name, level, __file__, 1, message, args, None)
    made.created = at
    return made


def test_one_line_of_keys_and_values() -> None:
    line = KeyValueFormatter().format(record("agents.x", 'took %d "rows"\nof p=1', 3))
    assert line == "time=1970-01-01T00:16:40." + line[25:28] + 'Z level=error logger=agents.x message="took 3 \\"rows\\"\\nof p=1"'
    assert quoted("") == '""'
    assert quoted("plain") == "plain"


def test_a_traceback_stays_on_the_line() -> None:
    try:
        raise ValueError("no")
    except ValueError as error:
        made = record("agents", "failed")
        made.exc_info = (ValueError, error, error.__traceback__)
    line = KeyValueFormatter().format(made)
    assert "\n" not in line
    assert 'error="Traceback' in line


def test_a_few_of_each_template_pass_then_a_count(limited: tuple[logging.Handler, io.StringIO, RateLimit], caplog: pytest.LogCaptureFixture) -> None:
    handler, stream, limit = limited
    for n in range(3500):
        handler.handle(record("aiokafka.consumer.fetcher", "Failed fetch messages from %s: %s", n % 3, "away", at=1000.0 + n / 1000))
        handler.handle(record("aiokafka.conn", f"Unable connect to node {n}", at=1000.0 + n / 1000))
    handler.handle(record("agents.tables", "ours always passes", at=1010.0))
    assert len(stream.getvalue().splitlines()) == 3 + 3 + 1
    assert limit.suppressed == 2 * 3497
    with caplog.at_level(logging.INFO):
        handler.handle(record("agents.tables", "later", at=1070.0))
    assert "3497 more like this were not written: Failed fetch messages from %s: %s" in caplog.text
    handler.handle(record("aiokafka.conn", "Unable connect to node 7", at=1071.0))
    assert "Unable connect to node 7" in stream.getvalue().splitlines()[-1]


def test_the_memory_of_templates_is_bounded(limited: tuple[logging.Handler, io.StringIO, RateLimit]) -> None:
    handler, _, limit = limited
    for n in range(2000):
        handler.handle(record("faust.x", "text " + "abcdefghij"[n % 10] * (n // 10 + 1), at=1000.0))
    assert len(limit._seen) <= 500


@pytest.fixture
def process_logging() -> Iterator[None]:
    """The logging of this process, put back afterwards."""
    root, hook = logging.getLogger(), threading.excepthook
    handlers, level = root.handlers[:], root.level
    yield
    root.handlers[:], threading.excepthook = handlers, hook
    root.setLevel(level)
    logging.captureWarnings(False)


@pytest.mark.usefixtures("process_logging")
@pytest.mark.parametrize(("level", "is_shown"), [("INFO", False), ("DEBUG", True)])
def test_what_the_libraries_do_is_shown_to_whoever_looks_for_defects(level: str, is_shown: bool) -> None:
    stream = io.StringIO()
    setup_logging(level, stream)
    logging.getLogger("faust.transport.conductor").info("[^--Conductor]: Starting...")
    logging.getLogger("agents.app").info("[^--TakingRecovery]: Resuming flow...")  # a service of Faust's, a class of ours
    logging.getLogger("aiokafka.consumer.group_coordinator").info("Joined group")
    logging.getLogger("agents.app").info("ours")
    logging.getLogger("agents.app").error("[^--TakingRecovery]: Crashed")
    logging.getLogger("aiokafka").warning("a broker is away")
    shown = stream.getvalue()
    assert [text in shown for text in ("Conductor", "Resuming", "Joined")] == [is_shown] * 3
    assert all(text in shown for text in ("ours", "Crashed", "a broker is away"))


def test_that_kafka_makes_its_topic_of_groups_is_no_error() -> None:
    made = record("aiokafka.consumer.group_coordinator", "Group Coordinator Request failed: %s", "[Error 15] GroupCoordinatorNotAvailableError")
    assert not Relevance(logging.WARNING).filter(made)
    assert Relevance().filter(made)
    assert " level=info " in KeyValueFormatter().format(made)


@pytest.mark.usefixtures("process_logging")
def test_what_ends_a_thread_is_one_line() -> None:
    stream = io.StringIO()
    setup_logging("INFO", stream)
    thread = threading.Thread(target=lambda: [][0], name="reader")
    thread.start()
    thread.join()
    (line,) = stream.getvalue().splitlines()
    assert "thread reader ended" in line
    assert "IndexError" in line
