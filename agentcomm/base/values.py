"""JSON and YAML texts, which may come from anybody, as plain values: bounded in size and depth, and nothing is run."""

from __future__ import annotations

import json
import math
import re
from typing import Any, NoReturn

import yaml

from agentcomm.base.errors import AgentcommError, FileError
from agentcomm.base.text import clip, reason, shorten

DEPTH = 64  # levels of nesting
CONTAINERS = 2_000_000  # lists and objects in a JSON text; they take most of the memory
NODES = 20_000  # values in a YAML text after its aliases are expanded
INTEGER = 2**64  # integers must be smaller


def parse_json(text: str) -> Any:
    """The value of a JSON text.

    Raises:
        ValueError: If the text is not JSON, nested too deeply, too large, repeats a key, or contains a number that is
            not finite or an integer of more than 64 bits.
    """
    if text.count("[") + text.count("{") > CONTAINERS:
        raise ValueError(f"it has more than {CONTAINERS:,} lists and objects")
    try:
        value = json.loads(
            text, object_pairs_hook=_distinct, parse_int=_integer, parse_float=_finite, parse_constant=_finite
        )
    except json.JSONDecodeError as failed:
        raise ValueError(f"line {failed.lineno}, column {failed.colno}: {failed.msg}") from None
    except RecursionError:
        raise ValueError(f"it is nested more than {DEPTH} levels deep") from None
    _check_depth(value)
    if re.search(r"\\ud[89a-f]", text, re.IGNORECASE):
        json.dumps(value, ensure_ascii=False).encode()  # raises ValueError for half a character
    return value


def parse_yaml(text: str, what: str, error: type[AgentcommError] = FileError) -> Any:
    """The value of a YAML text, with the scalars of YAML 1.2: numbers, ``true``, ``false`` and null; all else is text.

    ``1e6`` is a number, ``no`` and ``2026-01-01`` are strings.

    Raises:
        AgentcommError: If the text is not YAML, repeats a key, uses a tag such as ``!!python/object``, contains a
            number that is not finite, is nested too deeply or grows too large by its aliases; names the line.
    """
    try:
        return yaml.load(text, Loader=_Loader)
    except yaml.MarkedYAMLError as failed:
        mark = failed.problem_mark or failed.context_mark
        place = "" if mark is None else f"line {mark.line + 1}, column {mark.column + 1}: "
        raise error(f"{what} is not valid YAML: {place}{clip(failed.problem or str(failed))}") from None
    except (yaml.YAMLError, RecursionError, ValueError, ArithmeticError) as failed:
        raise error(f"{what} is not valid YAML: {reason(failed)}") from None


def to_yaml(value: Any, **options: Any) -> str:
    """YAML that :func:`parse_yaml` reads back as the same value."""
    return str(yaml.dump(value, Dumper=_Dumper, **options))


def _distinct(pairs: list[tuple[str, Any]]) -> dict[str, Any]:
    found: dict[str, Any] = {}
    for name, value in pairs:
        if name in found:
            raise ValueError(f"the key {shorten(name)} appears twice in an object")
        found[name] = value
    return found


def _integer(text: str) -> int:
    if len(text) > 21 or abs(int(text)) >= INTEGER:
        raise ValueError(f"the integer {shorten(text)} is too large")
    return int(text)


def _finite(text: str) -> float:
    value = float(text)
    if not math.isfinite(value):
        raise ValueError(f"the number {shorten(text)} is not finite")
    return value


def _check_depth(value: Any) -> None:
    level = [value] if isinstance(value, dict | list) else []
    for _ in range(DEPTH):
        inner = [part for outer in level for part in (outer.values() if isinstance(outer, dict) else outer)]
        level = [part for part in inner if isinstance(part, dict | list)]
        if not level:
            return
    raise ValueError(f"it is nested more than {DEPTH} levels deep")


class _Loader(yaml.SafeLoader):
    """Plain values only: no tags, no repeated keys, bounded in depth and in size after aliases."""

    yaml_implicit_resolvers: Any = {}  # noqa: RUF012 - filled below
    depth = 0

    def compose_node(self, parent: Any, index: Any) -> Any:
        self.depth += 1
        if self.depth > DEPTH:
            _refuse(self.peek_event().start_mark, f"nested more than {DEPTH} levels deep")  # type: ignore[no-untyped-call]
        node = super().compose_node(parent, index)
        self.depth -= 1
        return node

    def compose_mapping_node(self, anchor: Any) -> Any:
        node = super().compose_mapping_node(anchor)
        lines: dict[str, int] = {}
        for key, _ in node.value:
            if not isinstance(key, yaml.ScalarNode):
                _refuse(key.start_mark, "a key must be a plain word")
            if key.value in lines:
                first = lines[key.value]
                _refuse(
                    key.start_mark, f"the key {shorten(key.value)} is already given in line {first}; keep one of them"
                )
            lines[key.value] = key.start_mark.line + 1
        return node

    def get_single_node(self) -> Any:
        node = super().get_single_node()
        if node is not None:
            _size(node, {})
        return node

    def construct_plain(self, node: Any) -> bool | int | float:
        text = self.construct_scalar(node).replace("_", "")
        try:
            if node.tag == "tag:yaml.org,2002:bool":
                return {"true": True, "false": False}[text.lower()]
            if node.tag == "tag:yaml.org,2002:float":
                return _finite(text.replace(".inf", "inf").replace(".nan", "nan"))
            return _integer(str(int(text, 0)) if text.lstrip("+-")[:2] in ("0x", "0o") else text)
        except (ValueError, KeyError) as failed:
            _refuse(
                node.start_mark,
                str(failed) if isinstance(failed, ValueError) else f"{shorten(text)} is not true or false",
            )

    def construct_text(self, node: Any) -> str:
        text = str(self.construct_scalar(node))
        try:
            text.encode()
        except ValueError:
            _refuse(node.start_mark, f"{shorten(text)} contains half a character (a surrogate)")
        return text

    def construct_undefined(self, node: Any) -> NoReturn:
        _refuse(node.start_mark, f"the tag {shorten(node.tag)} is not supported; write a plain value")


def _refuse(mark: Any, problem: str) -> NoReturn:
    raise yaml.MarkedYAMLError(problem=problem, problem_mark=mark)


def _size(node: Any, known: dict[int, int]) -> int:
    """Number of values in a YAML node once its aliases are expanded."""
    if id(node) not in known:
        known[id(node)] = NODES  # of a node that contains itself
        inner = node.value if isinstance(node, yaml.CollectionNode) else []
        parts = [part for entry in inner for part in (entry if isinstance(entry, tuple) else (entry,))]
        known[id(node)] = 1 + sum(_size(part, known) for part in parts)
    if known[id(node)] > NODES:
        _refuse(node.start_mark, f"more than {NODES:,} values once aliases (*name) are expanded")
    return known[id(node)]


_PREFIX = "tag:yaml.org,2002:"
_SCALARS = {
    "null": (r"~|null|Null|NULL|", ["~", "n", "N", ""]),
    "bool": (r"true|True|TRUE|false|False|FALSE", list("tTfF")),
    "int": (r"[-+]?[0-9][0-9_]*|0x[0-9a-fA-F]+|0o[0-7]+", list("-+0123456789")),
    "float": (
        r"[-+]?(\.[0-9]+|[0-9][0-9_]*(\.[0-9]*)?)([eE][-+]?[0-9]+)?|[-+]?\.(inf|Inf|INF)|\.(nan|NaN|NAN)",
        list("-+0123456789."),
    ),
    "merge": (r"<<", ["<"]),
}


class _Dumper(yaml.SafeDumper):
    """Quotes whatever either YAML 1.1 or :class:`_Loader` would not read as a string."""


for _name, (_pattern, _first) in _SCALARS.items():
    for _class in (_Loader, _Dumper):
        _class.add_implicit_resolver(_PREFIX + _name, re.compile(f"^(?:{_pattern})$"), _first)
_Loader.yaml_constructors = {
    f"{_PREFIX}{name}": make
    for name, make in (
        ("null", _Loader.construct_yaml_null),
        ("bool", _Loader.construct_plain),
        ("int", _Loader.construct_plain),
        ("float", _Loader.construct_plain),
        ("str", _Loader.construct_text),
        ("seq", _Loader.construct_yaml_seq),
        ("map", _Loader.construct_yaml_map),
    )
} | {None: _Loader.construct_undefined}
