"""Fields of configs: their base class, and what a field accepts, in plain words.

Values whose meaning is unambiguous are accepted in other forms, too: a scalar for a list of one, ``1e6`` for a whole
number, ``none`` for a value that may be missing.
"""

from __future__ import annotations

import re
from collections.abc import Iterable, Sequence
from pathlib import Path
from types import NoneType, UnionType
from typing import Annotated, Any, Literal, Union, get_args, get_origin

from pydantic import BaseModel, ConfigDict, ValidationInfo, field_validator
from pydantic_core import PydanticCustomError

NUMBER = re.compile(r"[-+]?(\d[\d_]*\.?[\d_]*|\.\d[\d_]*)([eE][-+]?\d+)?")
NOTHING = ("none", "None", "null", "~", "")
PLURALS = {int: "whole numbers", float: "numbers", str: "names", dict: "mappings", Path: "paths"}


class Strict(BaseModel):
    """A frozen part of a config that rejects unknown keys and numbers that are not finite."""

    model_config = ConfigDict(frozen=True, extra="forbid", allow_inf_nan=False)

    @classmethod
    def __pydantic_init_subclass__(cls, **settings: Any) -> None:
        """Describe fields that only get another default, as in ``max_steps: int = 8``, like those of the base class."""
        super().__pydantic_init_subclass__(**settings)
        for name, field in cls.model_fields.items():
            bases = [base for base in cls.__mro__[1:] if issubclass(base, BaseModel) and name in base.model_fields]
            known = [base.model_fields[name].description for base in bases]
            field.description = field.description or next(filter(None, known), None)

    @field_validator("*", mode="before")
    @classmethod
    def _in_other_forms(cls, value: Any, info: ValidationInfo) -> Any:
        return normalized(value, cls.model_fields[str(info.field_name)].annotation)


def branches(annotation: Any) -> list[tuple[Any, list[Any]]]:
    """The alternatives of a type, each with its constraints; None is one of them if the value may be missing."""
    if get_origin(annotation) is Annotated:
        inner, *constraints = get_args(annotation)
        return [(kind, own + _constraints(constraints)) for kind, own in branches(inner)]
    if get_origin(annotation) in (Union, UnionType):
        return [branch for part in get_args(annotation) for branch in branches(part)]
    return [(NoneType if annotation is None else annotation, [])]


def _constraints(metadata: Iterable[Any]) -> list[Any]:
    """Constraints, also those inside a pydantic field."""
    return [c for m in metadata for c in (m.metadata if hasattr(m, "metadata") else [m])]


def items(kind: Any, index: int = 0) -> Any:
    """The type of an item of a list type; None if this is no list type."""
    arguments = get_args(kind)
    if get_origin(kind) not in (tuple, list) or not arguments:
        return None
    fixed = get_origin(kind) is tuple and arguments[-1] is not Ellipsis
    return arguments[min(index, len(arguments) - 1)] if fixed else arguments[0]


def _is_open_list(kind: Any) -> bool:
    return get_origin(kind) is list or (get_origin(kind) is tuple and get_args(kind)[-1:] == (Ellipsis,))


def normalized(value: Any, annotation: Any) -> Any:
    """A value in the form that pydantic expects, if its meaning is unambiguous; otherwise the value itself.

    Raises:
        PydanticCustomError: If a truth value is given for a number, which pydantic would take for 0 or 1.
    """
    kinds = [kind for kind, _ in branches(annotation)]
    if NoneType in kinds and isinstance(value, str) and value in NOTHING and not {str, Path} & set(kinds):
        return None
    if int in kinds or float in kinds:
        if isinstance(value, bool) and bool not in kinds:
            raise PydanticCustomError("number", "")  # the text of the field is made in explain
        return _number(value, float in kinds) if str not in kinds else value
    for kind in kinds:
        if not _is_open_list(kind):
            continue
        item = items(kind)
        length = len(get_args(item)) if get_origin(item) is tuple and not _is_open_list(item) else 0  # of fixed lists
        scalar = isinstance(value, str | int | float | dict | BaseModel | Path)
        if scalar if not length else isinstance(value, list | tuple) and [*map(type, value)] == [int] * length:
            value = [value]
        if isinstance(value, list | tuple):
            return [normalized(part, item) for part in value]
    return value


def _number(value: Any, fractions: bool) -> Any:
    """The number in a text such as ``1e6``; whole where only whole numbers are accepted."""
    if not isinstance(value, str) or not NUMBER.fullmatch(value.strip()):
        return value
    with_fraction = set(value) & set(".eE")
    number = float(value) if with_fraction else int(value)
    if number in (float("inf"), float("-inf")) or (fractions and with_fraction):
        return number
    return int(number) if number == int(number) else number


def form(annotation: Any, metadata: Iterable[Any] = ()) -> str:
    """What a field accepts, such as ``a whole number of at least 1``."""
    found = branches(annotation)
    words = [_kind(kind, [*metadata, *own]) for kind, own in found if kind is not NoneType]
    missing = ", or none" if any(kind is NoneType for kind, _ in found) else ""
    return ", or ".join(dict.fromkeys(words)) + missing


def _kind(kind: Any, constraints: list[Any]) -> str:
    if get_origin(kind) is Literal:
        *most, last = map(shown_word, get_args(kind))
        return f"{', '.join(most)} or {last}" if most else last
    if (item := items(kind)) is not None:
        return _list(kind, item)
    if isinstance(kind, type) and issubclass(kind, BaseModel):
        return str(getattr(kind, "accepts", f"a mapping with the keys {', '.join(kind.model_fields)}"))
    simple: dict[Any, str] = {
        bool: "true or false",
        int: "a whole number",
        float: "a number",
        str: "text",
        Path: "the path of a file",
    }
    if get_origin(kind) is dict or kind is dict:
        return "a mapping, such as {key: value}"
    if kind in simple:
        return f"{simple[kind]}{bounds(constraints)}"
    return "a value" if kind is Any else f"a {getattr(kind, '__name__', kind)}"


def _list(kind: Any, item: Any) -> str:
    """A list type in words."""
    arguments = get_args(kind)
    if not _is_open_list(kind):
        same = len(set(arguments)) == 1
        plural = PLURALS.get(item, "values") if same else "values"
        return f"a list of {len(arguments)} {plural}"
    if _is_open_list(item):
        return f"a list of lists of {_plural(items(item))}"
    return f"a list of {_plural(item)}"


def _plural(item: Any) -> str:
    kinds = [kind for kind, _ in branches(item)]
    origin = get_origin(kinds[0]) or kinds[0]
    if origin is Literal:
        return f"words: {_kind(kinds[0], [])}"
    if origin is tuple:
        pair, numbers = len(get_args(kinds[0])), PLURALS.get(items(kinds[0]), "values")
        return f"pairs of {numbers}, such as [[0, 1], [2, 3]]" if pair == 2 else f"lists of {pair} {numbers}"
    named = getattr(origin, "plural", None)
    return str(named or PLURALS.get(origin, "mappings"))


def bounds(constraints: Sequence[Any]) -> str:
    """The range of a number, or the number of characters of a text, such as `` from 0 to 1``."""
    limits = {
        n: getattr(c, n) for c in constraints for n in ("ge", "gt", "le", "lt") if getattr(c, n, None) is not None
    }
    limits = {name: f"{value:g}" if abs(value) < 1e6 else str(value) for name, value in limits.items()}
    if {"ge", "le"} <= limits.keys():
        return f" from {limits['ge']} to {limits['le']}"
    said = {"ge": "at least", "gt": "above", "le": "at most", "lt": "below"}
    found = " and ".join(f"{said[name]} {value}" for name, value in limits.items())
    return f" of {found}" if found.startswith("at") else f" {found}" if found else ""


def shown_word(value: Any) -> str:
    """A value of a closed set of words as users write it."""
    return "true" if value is True else "false" if value is False else str(value)
