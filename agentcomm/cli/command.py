"""Commands whose mistakes are all named at once, in the form of all other errors."""

from __future__ import annotations

import re
from collections import Counter
from collections.abc import Iterator
from contextlib import contextmanager
from difflib import get_close_matches
from typing import Any

import typer
from rich.text import Text
from typer.core import TyperCommand, TyperGroup

from agentcomm.base.errors import ConfigError, did_you_mean
from agentcomm.base.text import shorten

# The base of all errors about options and arguments; typer does not export it under a name of its own.
UsageError: Any = typer.BadParameter.__mro__[1]
RENAMED = {"--world": "--env", "--path": "--channel", "--paths": "--channel", "--seeds": "--seed", "--out": "--output"}


@contextmanager
def _literally() -> Iterator[None]:
    """Let help show ``gymnasium:PACKAGE:ID`` as it is: rich takes a word between colons for the name of an emoji."""
    original = Text.__dict__["from_markup"]

    def from_markup(cls: type[Text], /, text: str, **options: Any) -> Text:
        made: Text = original.__func__(cls, text, **options | {"emoji": False})
        return made

    Text.from_markup = classmethod(from_markup)  # type: ignore[assignment, method-assign]
    try:
        yield
    finally:
        Text.from_markup = original  # type: ignore[method-assign]


class Command(TyperCommand):
    """A command that names all mistakes in its words at once, and rejects options that are given twice."""

    def format_help(self, ctx: Any, formatter: Any) -> None:
        """Write the help page without emoji."""
        with _literally():
            super().format_help(ctx, formatter)

    def parse_args(self, ctx: Any, args: list[str]) -> list[str]:
        """Read the words after the command.

        Raises:
            ConfigError: If there are mistakes.
        """
        if "--help" in args or "-h" in args:
            return super().parse_args(ctx, ["--help"])
        unknown = list(self._unknown(ctx, args))
        known = [word for word in args if word.partition("=")[0] not in unknown]
        wrong = [f"{word}: no such option; {self._hint(ctx, word)}" for word in unknown]
        try:
            given, rest, order = self.make_parser(ctx).parse_args(args=known)
        except UsageError as error:  # an option without its value
            raise ConfigError(self._text([*wrong, plain(error)], ctx)) from None
        wrong += [
            f"{param.opts[0]}: given {number} times, but takes one value"
            for param, number in Counter(order).items()
            if number > 1 and param.param_type_name == "option" and not param.multiple
        ]
        for param in self.get_params(ctx):
            try:
                _, rest = param.handle_parse_result(ctx, given, rest)
            except UsageError as error:
                if not (unknown and type(error).__name__ == "MissingParameter"):
                    wrong.append(plain(error, param, given.get(param.name)))
        if rest and not unknown:
            wrong.append(f"{' '.join(map(shorten, rest))}: too many words")
        if wrong and not ctx.resilient_parsing:
            raise ConfigError(self._text(wrong, ctx))
        ctx.args = rest
        return rest

    def _unknown(self, ctx: Any, args: list[str]) -> Iterator[str]:
        """The options among the words that the command does not have."""
        options = {name: param for param in self.get_params(ctx) for name in (*param.opts, *param.secondary_opts)}
        words = iter(args)
        for word in words:
            name, equals, _ = word.partition("=")
            if word == "--":
                return
            if name in options:
                if not equals and not getattr(options[name], "is_flag", False):
                    next(words, None)
            elif re.match(r"--?[A-Za-z]", name):
                yield name

    def _hint(self, ctx: Any, word: str) -> str:
        options = [name for param in self.get_params(ctx) for name in param.opts if name.startswith("--")]
        if RENAMED.get(word) in options:
            return f"it is now called {RENAMED[word]}"
        close = get_close_matches(word, options, n=1)
        return f"did you mean {close[0]}?" if close else f"known: {', '.join(sorted(options))}"

    def _text(self, wrong: list[str], ctx: Any) -> str:
        """The mistakes, and the form and an example of the command."""
        arguments = " ".join(_word(p) for p in self.get_params(ctx) if p.param_type_name == "argument")
        lines = [f"the command {ctx.command_path} cannot be run:", *(f"  {line}" for line in wrong)]
        lines.append(f"form: {ctx.command_path} {arguments} [OPTIONS]; for all options: {ctx.command_path} --help")
        if self.epilog:
            lines.append(f"example: {self.epilog.rpartition('Example: ')[2]}")
        return "\n".join(lines)


class Group(TyperGroup):
    """The commands, in the order of a study."""

    def format_help(self, ctx: Any, formatter: Any) -> None:
        """Write the help page without emoji."""
        with _literally():
            super().format_help(ctx, formatter)

    def resolve_command(self, ctx: Any, args: list[str]) -> Any:
        """The command that the first word names.

        Raises:
            ConfigError: If there is none.
        """
        if not args[0].startswith("-") and self.get_command(ctx, args[0]) is None:
            raise ConfigError(f"there is no command {shorten(args[0])}; {did_you_mean(args[0], self.commands)}")
        return super().resolve_command(ctx, args)


def _word(param: Any) -> str:
    """An argument as it appears in the form of a command."""
    word = param.metavar or str(param.name).upper()
    return word if param.required or word.startswith("[") else f"[{word}]"


def plain(error: Any, param: Any = None, value: Any = None) -> str:
    """An error about an option or argument in plain words."""
    name = "" if param is None else param.opts[0] if param.param_type_name == "option" else _word(param)
    if type(error).__name__ == "MissingParameter":
        return f"{name} is missing"
    text = str(error.message).strip().rstrip(".")
    if type(error).__name__ == "BadOptionUsage":
        return f"{error.option_name}: {'needs a value' if 'requires an argument' in text else text}"
    if found := re.search(r"valid (integer|int|float|number|boolean|bool)", text):
        kinds = {"float": "a number", "number": "a number", "boolean": "true or false", "bool": "true or false"}
        return f"{name}: must be {kinds.get(found[1], 'a whole number')} (got {shorten(value)})"
    if found := re.search(r"is not one of (.*)", text):
        return f"{name}: must be {found[1].replace(chr(39), '').replace(', ', ' or ')} (got {shorten(value)})"
    return f"{name}: {text}" if name else text
