"""One line per record, `key=value`, and only what an operator can use: what Faust and the Kafka client tell of their own work is shown at DEBUG, and there
is a limit for what the client says while a broker is away (thousands of lines)."""

import logging
import re
import sys
import threading
import time
from typing import TextIO

NOISY = ("aiokafka", "faust", "mode")
SERVICE = "[^"
"""How a message of Faust's services begins, also of those that are classes of ours: `[^--Conductor]: Starting...`."""
USUAL = ("GroupCoordinatorNotAvailable", "because it is rebalancing")
"""Kafka's answers until it has made the topic of its consumer groups, at the first start of all, and when a worker comes or goes; the client asks again."""
PASSED_PER_WINDOW = 5
WINDOW_SECONDS = 60.0
MAX_TEMPLATES = 500

_NUMBERS = re.compile(r"\d+")
_NEEDS_QUOTES = re.compile(r'[\s"=]')


def quoted(value: str) -> str:
    """The value as it stands in a `key=value` line."""
    if value and not _NEEDS_QUOTES.search(value):
        return value
    escaped = value.replace("\\", "\\\\").replace('"', '\\"').replace("\n", "\\n").replace("\r", "\\r").replace("\t", "\\t")
    return f'"{escaped}"'


class KeyValueFormatter(logging.Formatter):
    """`time=… level=… logger=… message=…`, tracebacks in `error=`, always one line."""

    def formatTime(self, record: logging.LogRecord, datefmt: str | None = None) -> str:  # noqa: N802
        return time.strftime(datefmt or "%Y-%m-%dT%H:%M:%S", time.gmtime(record.created))

    def format(self, record: logging.LogRecord) -> str:
        stamp = f"{self.formatTime(record)}.{int(record.msecs):03d}Z"
        line = f"time={stamp} level={record.levelname.lower()} logger={record.name} message={quoted(record.getMessage())}"
        if record.exc_info:
            line += f" error={quoted(self.formatException(record.exc_info))}"
        if record.stack_info:
            line += f" stack={quoted(record.stack_info)}"
        return line


class Relevance(logging.Filter):
    """What the libraries do is shown at DEBUG only, and what is usual is no error."""

    def __init__(self, level: int = logging.INFO) -> None:
        super().__init__()
        self._level = level
        self.of_libraries = logging.INFO if level < logging.INFO else max(logging.WARNING, level)
        """Their own DEBUG is never shown: Faust would log every send, which costs a seventh of its speed."""

    def filter(self, record: logging.LogRecord) -> bool:
        if record.name.startswith("aiokafka.") and any(text in record.getMessage() for text in USUAL):
            record.levelno, record.levelname = logging.INFO, "INFO"
            return self._level <= logging.INFO
        return record.levelno >= self.of_libraries or not str(record.msg).startswith(SERVICE)


class RateLimit(logging.Filter):
    """Of each message template of the noisy libraries, a few pass per minute; then one line says how many did not."""

    def __init__(self, loggers: tuple[str, ...] = NOISY, passed: int = PASSED_PER_WINDOW, window: float = WINDOW_SECONDS) -> None:
        super().__init__()
        self.suppressed = 0
        self._loggers = tuple(f"{name}." for name in loggers)
        self._passed = passed
        self._window = window
        self._seen: dict[tuple[str, int, str], tuple[float, int]] = {}
        self._swept = 0.0

    def filter(self, record: logging.LogRecord) -> bool:
        now = record.created
        if now - self._swept >= min(1.0, self._window):
            self._swept = now
            self._sweep(now)
        if not f"{record.name}.".startswith(self._loggers):
            return True
        template = (record.name, record.levelno, _NUMBERS.sub("#", str(record.msg))[:200])
        began, count = self._seen.get(template, (now, 0))
        if len(self._seen) >= MAX_TEMPLATES and template not in self._seen:
            self._sweep(now, all_of_them=True)
        self._seen[template] = (began, count + 1)
        if count < self._passed:
            return True
        self.suppressed += 1
        return False

    def _sweep(self, now: float, *, all_of_them: bool = False) -> None:
        over = [(template, count) for template, (began, count) in self._seen.items() if all_of_them or now - began >= self._window]
        for template, _ in over:
            del self._seen[template]
        for (name, level, text), count in over:
            if count > self._passed:
                logging.getLogger(__name__).log(level, "%s: %d more like this were not written: %s", name, count - self._passed, text)


def setup_logging(level: str | int = logging.INFO, stream: TextIO | None = None) -> RateLimit:
    """Set up the process' logging; returns the limit, which counts what it kept back."""
    limit = RateLimit()
    handler = logging.StreamHandler(stream or sys.stderr)
    handler.setFormatter(KeyValueFormatter())
    root = logging.getLogger()
    root.handlers[:] = [handler]
    root.setLevel(level)
    relevance = Relevance(root.level)
    handler.addFilter(relevance)
    handler.addFilter(limit)
    for name in NOISY:
        logging.getLogger(name).setLevel(relevance.of_libraries)
    logging.getLogger("aiohttp.access").setLevel(logging.WARNING)
    logging.captureWarnings(True)
    threading.excepthook = _log_thread
    return limit


def _log_thread(raised: threading.ExceptHookArgs) -> None:
    """What ends a thread is one record too."""
    error = raised.exc_value
    logging.getLogger(__name__).error("thread %s ended", raised.thread.name if raised.thread else "?", exc_info=error)
