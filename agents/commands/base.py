"""What all commands say and ask alike. Whatever takes long to import is imported by the command that needs it, when it runs."""

import json
import os
from collections.abc import Callable, Coroutine, Iterator
from contextlib import contextmanager
from typing import Any, NoReturn, TypeVar

import click

from agents.settings import Settings

T = TypeVar("T")


class Sentence(click.ClickException):
    """What is wrong and what to do, in a sentence; exit code 2."""

    exit_code = 2


class Commands(click.Group):
    """Turns what a person can put right into a sentence."""

    def invoke(self, ctx: click.Context) -> Any:
        try:
            return super().invoke(ctx)
        except ValueError as error:
            from agents.files import UNUSABLE

            if isinstance(error, UNUSABLE):
                raise Sentence(str(error)) from None
            raise


class Parsed(click.ParamType):
    """What a function makes of the text; its ValueError is the sentence of a usage error."""

    def __init__(self, name: str, parse: Callable[[str], Any]) -> None:
        self.name, self._parse = name, parse

    def convert(self, value: Any, param: click.Parameter | None, ctx: click.Context | None) -> Any:
        try:
            return self._parse(value) if isinstance(value, str) else value
        except ValueError as error:
            self.fail(str(error), param, ctx)


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
    """Run what talks to Kafka; that it cannot be reached or refuses is a sentence."""
    import asyncio

    from agents.admin import RefusedError, UnreachableError

    try:
        return asyncio.run(coroutine)
    except (UnreachableError, RefusedError) as error:
        text = str(error).removeprefix("KafkaConnectionError: ").removeprefix("UnreachableError: ")
        raise Sentence(text[:1].upper() + text[1:]) from None


def finish(code: int) -> NoReturn:
    """End with an exit code: 0 ok, 1 findings."""
    click.get_current_context().exit(code)
