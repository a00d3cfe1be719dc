"""Turns pydantic's errors into lines that name the field, what it accepts and what was given."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from types import NoneType
from typing import Any, get_args, get_origin

from pydantic import BaseModel, ValidationError
from pydantic_core import ErrorDetails
from pydantic_core.core_schema import ErrorType

from agentcomm.base.errors import did_you_mean
from agentcomm.base.fields import branches, form, items
from agentcomm.base.text import clip, shorten

OWN_TEXT = ("value_error", "assertion_error")  # raised by validators, which say what is wrong
PYDANTIC = {*get_args(ErrorType), "number", "path_type"}  # every other type is an error of a validator's own
# Keys and words of older versions. A key is mentioned where its new name is known.
RENAMED = {
    "path": "transport",
    "paths": "transports",
    "worlds": "environments",
    "world": "environments",
    "voice": "message_noise",
    "kind": "name",
}
REWRITTEN = {"harmless": "run_as: control", "noop_control": "run_as: control"}  # keys that are now another's value
MOST, LONGEST = 40, 600  # lines of an error, and characters of a line
RENAMED_WORDS = {"shut": "closed"}


def shown(value: Any) -> str:
    """A given value in bounded length."""
    if value is None or isinstance(value, bool):
        return {None: "null", True: "true", False: "false"}[value]
    return shorten(value)


def explain(error: ValidationError, what: str, model: type[BaseModel], given: Any = None) -> str:
    """Turn a pydantic error into lines that name the field, the value and how to fix it.

    Args:
        error: The validation error.
        what: Name of what was read, for the first line ("config examples/demo.yaml").
        model: The model that was validated.
        given: What was validated, from which the types of nested plug-ins are known.
    """
    found = error.errors(include_url=False)
    lines = [f"  {clip(_line(item, model, given), LONGEST)}" for item in found[:MOST]]
    more = [f"  and {len(found) - MOST} more"] if len(found) > MOST else []
    return "\n".join([f"{what} cannot be used:", *dict.fromkeys(lines), *more])


def _line(item: ErrorDetails, model: type[BaseModel], given: Any) -> str:
    place = Place(model, given)
    *parents, last = item["loc"] or ("",)
    if item["type"] in ("extra_forbidden", "missing"):
        for part in parents:
            place.enter(part)
        if isinstance(last, int):  # of a list of fixed length
            return f"{place.path}: must be {place.form()} (got {shown(item['input'])})"
        path = f"{place.path}.{last}".lstrip(".")
        if item["type"] == "missing":
            old = [k for k in item["input"] if RENAMED.get(k) == last] if isinstance(item["input"], dict) else []
            return f"{path}: is missing{place.described(str(last))}{f'; write it instead of {old[0]!r}' if old else ''}"
        return f"{path}: unknown key; {_hint(str(last), path, place.keys(), model)}"
    for part in item["loc"]:
        place.enter(part)
    got = f" (got {shown(item['input'])}{_quotes(place, item['input'])})"
    if item["type"] in OWN_TEXT or item["type"] not in PYDANTIC:
        text = str(item.get("ctx", {}).get("error") or item["msg"])
        return f"{place.path}: {text}{got if item['type'] in OWN_TEXT else ''}" if place.path else text
    if item["type"] == "invalid_key":
        return f"{place.path or 'a key'}: keys must be text{got}"
    expected = _expected(item, place)
    return f"{place.path}: {expected}{got}" if place.path else f"it {expected}{got}"


def _expected(item: ErrorDetails, place: Place) -> str:
    """What a field must be, from its type; from the error where it concerns something else than type and range."""
    about: dict[str, Any] = item.get("ctx", {})
    if item["type"] == "finite_number":
        return "must be finite"
    if item["type"] in ("too_short", "string_too_short"):
        return f"needs at least {about['min_length']} {_parts(item)}"
    if item["type"] in ("too_long", "string_too_long"):
        return f"may have at most {about['max_length']} {_parts(item)}"
    if item["type"] == "string_pattern_mismatch":
        return f"must match the pattern {about['pattern']}"
    if item["type"] == "multiple_of":
        return f"must be a multiple of {about['multiple_of']}"
    hint = RENAMED_WORDS.get(item["input"]) if isinstance(item["input"], str) else None
    renamed = f"; {item['input']!r} is now called {hint!r}" if hint is not None and hint in place.form() else ""
    return f"must be {place.form()}{renamed}"


def _parts(item: ErrorDetails) -> str:
    return "character(s)" if item["type"].startswith("string") else "item(s)"


def _quotes(place: Place, value: Any) -> str:
    """A hint for numbers and truth values where text is expected."""
    wanted = any(kind is str for kind, _ in branches(place.annotation))
    return f'; put it in quotes: "{shown(value)}"' if wanted and isinstance(value, int | float) else ""


def _hint(key: str, path: str, known: Sequence[str], root: type[BaseModel]) -> str:
    """Where an unknown key belongs, or what it is called."""
    new = RENAMED.get(key)
    if key in REWRITTEN:
        return f"write {REWRITTEN[key]!r} instead"
    if new in known:
        return f"it is now called {new!r}"
    for name, says in ((new, "it is now called"), (key, "write it as")):
        elsewhere = [place for place in places(root) if place.rpartition(".")[2] == name and place != path]
        if elsewhere:
            return f"{says} {' or '.join(elsewhere[:2])}"
    return did_you_mean(key, known)


def places(model: type[BaseModel], prefix: str = "") -> Iterator[str]:
    """Dotted paths of all fields of a model and of the models in it; not of those in lists."""
    for name, info in model.model_fields.items():
        yield f"{prefix}{name}"
        for kind, _ in branches(info.annotation):
            if isinstance(kind, type) and issubclass(kind, BaseModel) and not hasattr(kind, "accepts"):
                yield from places(kind, f"{prefix}{name}.")


class Place:
    """A place in a model, found by following the keys and indices of an error.

    Attributes:
        path: The place as users write it, such as ``evaluation.attacks[0]``.
        annotation: The type of the value there.
        metadata: Its constraints.
    """

    def __init__(self, model: type[BaseModel], given: Any) -> None:
        self.path = ""
        self.annotation: Any = model
        self.metadata: list[Any] = []
        self.given = given

    def models(self) -> list[type[BaseModel]]:
        """The models that a value at this place may have; that of the given plug-in where one is named."""
        found = [kind for kind, _ in branches(self.annotation) if isinstance(kind, type)]
        models = [kind for kind in found if issubclass(kind, BaseModel)]
        named = [model.arguments_of(self.given) for model in models if hasattr(model, "arguments_of")]
        return [model for model in [*named, *models] if model is not None]

    def keys(self) -> list[str]:
        """The keys that are known here."""
        models = self.models()
        named = [m for m in models if not hasattr(m, "arguments_of")] or models
        return [key for model in named for key in model.model_fields]

    def described(self, key: str) -> str:
        """The description of a field here, in parentheses."""
        found = [m.model_fields[key].description for m in self.models() if key in m.model_fields]
        return f" ({found[0]})" if found and found[0] else ""

    def form(self) -> str:
        """What is accepted here."""
        return form(self.annotation, self.metadata)

    def enter(self, part: str | int) -> None:
        """Follow a key or index; a tag that pydantic adds for the alternatives of a type leads nowhere."""
        for model in self.models():
            if part in model.model_fields:
                info = model.model_fields[str(part)]
                return self._move(f".{part}", info.annotation, info.metadata, part)
        for kind, _ in branches(self.annotation):
            if isinstance(part, int) and (item := items(kind, part)) is not None:
                return self._move(f"[{part}]", item, [], part)
            if get_origin(kind) is dict or kind is Any:
                return self._move(f".{part}", Any, [], part)
        if len([kind for kind, _ in branches(self.annotation) if kind is not NoneType]) == 1:
            return self._move(f".{part}", Any, [], part)
        return None

    def _move(self, step: str, annotation: Any, metadata: list[Any], part: str | int) -> None:
        self.path = f"{self.path}{step}".lstrip(".")
        self.annotation, self.metadata = annotation, metadata
        inside = isinstance(self.given, dict | list | tuple)
        try:
            self.given = self.given[part] if inside else getattr(self.given, str(part), None)
        except (LookupError, TypeError):  # a scalar that stands for a list of one
            self.given = self.given if isinstance(part, int) else None
