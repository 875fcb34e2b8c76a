"""One line per record, `key=value`; and a limit for what the Kafka client says while a broker is away (thousands of lines)."""

import logging
import re
import sys
import time
from typing import TextIO

NOISY = ("aiokafka", "faust", "mode")
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
    handler.addFilter(limit)
    root = logging.getLogger()
    root.handlers[:] = [handler]
    root.setLevel(level)
    for name in NOISY:  # Faust logs every send at DEBUG, which costs a seventh of its speed
        logging.getLogger(name).setLevel(max(logging.INFO, root.level))
    logging.getLogger("aiohttp.access").setLevel(logging.WARNING)
    logging.captureWarnings(True)
    return limit
