"""What all commands say and ask alike. Whatever takes long to import is imported by the command that needs it, when it runs."""

import json
import os
import re
from collections.abc import Callable, Collection, Coroutine, Iterator
from contextlib import contextmanager
from typing import Any, Final, NoReturn, TypeVar

import click

from agents.settings import Settings
from streams.durations import YEAR, parse_duration
from streams.words import suggest

T = TypeVar("T")


class Sentence(click.ClickException):
    """What is wrong and what to do, in a sentence; exit code 2."""

    exit_code = 2


class Stopped(click.ClickException):
    """Ctrl-C before the work was done: how far it came, in a sentence; exit code 130, as a shell says it."""

    exit_code = 130

    def show(self, file: Any = None) -> None:
        click.echo(f"\n{self.message}", file, err=file is None)  # the terminal's line has its ^C


class Commands(click.Group):
    """Turns what a person can put right into a sentence, and Ctrl-C into another."""

    def invoke(self, ctx: click.Context) -> Any:
        try:
            return super().invoke(ctx)
        except (KeyboardInterrupt, click.Abort):
            raise Stopped("Stopped.") from None
        except (click.ClickException, click.exceptions.Exit):  # said already
            raise
        except Exception as error:
            if (said := _said(error)) is None:
                raise
            raise Sentence(said) from None


def _said(error: Exception) -> str | None:
    """What an error says to the person at the terminal; None for a defect of ours. What is imported here takes long, so only now."""
    from agents.admin import RefusedError, UnreachableError
    from agents.files import UNUSABLE, why
    from agents.replay import ReplayError
    from agents.simulate import SimulateError

    if isinstance(error, OSError) and error.filename is not None:
        return f"{os.fsdecode(error.filename)}: {why(error)}"
    return str(error) if isinstance(error, (RefusedError, UnreachableError, ReplayError, SimulateError, *UNUSABLE)) else None


class Number(click.FloatRange):
    """A number with bounds."""

    name = "number"


class Whole(click.IntRange):
    """A whole number with bounds."""

    name = "integer"


class Parsed(click.ParamType):
    """What a function makes of the text; its ValueError is the sentence of a usage error."""

    def __init__(self, name: str, parse: Callable[[str], Any]) -> None:
        self.name, self._parse = name, parse

    def convert(self, value: Any, param: click.Parameter | None, ctx: click.Context | None) -> Any:
        try:
            return self._parse(value) if isinstance(value, str) else value
        except ValueError as error:
            self.fail(str(error), param, ctx)


def duration(text: str) -> int:
    """Milliseconds of `10s`, `5m`, `1h30m`, `250ms`; a number alone is seconds. Raises ValueError."""
    return parse_duration(f"{text}s" if re.fullmatch(r"\d+(\.\d+)?", text) else text, YEAR)


DURATION: Final = Parsed("TIME", duration)


def need(name: str, known: Collection[str], what: str) -> str:
    """The name, if it is known; raises ValueError with the one that may be meant, or all."""
    if name in known:
        return name
    hint = suggest(name, known) or f" There are {', '.join(known) or 'none'}."
    raise ValueError(f"There is no {what} {name[:64]!r}.{hint}")


def examples(*lines: str) -> str:
    """The end of a help text."""
    return "\b\nExamples:\n" + "\n".join(f"  {line}" for line in lines)


def json_option(says: str = "Print a JSON object.") -> Callable[[Callable[..., T]], Callable[..., T]]:
    """`--json`, for programs."""
    return click.option("--json", "as_json", is_flag=True, help=says)


def read_settings() -> Settings:
    """The settings in the environment; raises SettingsError."""
    return Settings.from_env(os.environ)


def print_json(value: Any) -> None:
    """Indented, for people too."""
    click.echo(json.dumps(value, ensure_ascii=False, indent=2))


@contextmanager
def sentence(*errors: type[Exception]) -> Iterator[None]:
    """The text of these errors is the sentence."""
    try:
        yield
    except errors as error:
        raise Sentence(str(error)) from None


def ask(coroutine: Coroutine[Any, Any, T]) -> T:
    """Run what talks to Kafka."""
    import asyncio

    return asyncio.run(coroutine)


def finish(code: int) -> NoReturn:
    """End with an exit code: 0 ok, 1 findings, 130 stopped."""
    click.get_current_context().exit(code)
