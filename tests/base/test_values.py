"""JSON and YAML from anybody become plain values, or an error in one bounded line."""

from __future__ import annotations

import re
from typing import Any

import pytest

from agentcomm.base.errors import FileError
from agentcomm.base.text import shorten, visible
from agentcomm.base.values import parse_json, parse_yaml, to_yaml

LAUGHS = "a: &a [x,x,x,x,x,x,x,x,x]\n" + "".join(
    f"{name}: &{name} [{','.join([f'*{before}'] * 9)}]\n" for before, name in zip("abcdefgh", "bcdefghi", strict=True)
)
MERGES = "a: &a {k: 1}\n" + "".join(
    f"{name}: &{name} {{<<: [{','.join([f'*{before}'] * 9)}]}}\n"
    for before, name in zip("abcdefgh", "bcdefghi", strict=True)
)


@pytest.mark.parametrize(
    ("text", "value"),
    [
        *[("1e6", 1e6), ("1.0e6", 1e6), ("-5", -5), ("1_000", 1000), ("010", 10), ("0o10", 8), ("0x1f", 31)],
        *[("no", "no"), ("2026-01-01", "2026-01-01"), ("1:30", "1:30"), ("", None), ("~", None), ("TRUE", True)],
        ("a: &x {k: 1, j: 2}\nb: {<<: *x, k: 3}", {"a": {"k": 1, "j": 2}, "b": {"k": 3, "j": 2}}),
    ],
)
def test_scalars_are_those_of_yaml_1_2(text: str, value: Any) -> None:
    read = parse_yaml(text, "it")
    assert read == value
    assert type(read) is type(value)


@pytest.mark.parametrize(
    ("text", "says"),
    [
        ("a: 1\nb: 2\na: 3", "line 3, column 1: the key 'a' is already given in line 1"),
        ("{a: 1, a: 2}", "line 1, column 8: the key 'a'"),
        ("a: !!python/object/apply:os.system [ls]", "line 1, column 4: the tag"),
        ("a: !!binary aGk=", "the tag"),
        ("a: !!timestamp 2026-01-01", "the tag"),
        ("a: .inf", "line 1, column 4: the number 'inf' is not finite"),
        ("a: .nan", "not finite"),
        ("a: 1e400", "not finite"),
        ("9" * 5000, "too large"),
        ("[" * 10_000, "line 1, column 65: nested more than 64 levels deep"),
        ("{a: " * 10_000, "nested more than 64 levels deep"),
        (LAUGHS, "line 5, column 4: more than 20,000 values once aliases"),
        (MERGES, "more than 20,000 values once aliases"),
        ("a: &a [*a]", "once aliases"),
        ("? [a, b]\n: 1", "a key must be a plain word"),
        ("--- a\n--- b", "line 2"),
        ("x: \0", "unacceptable character"),
        ('x: "\\ud800"', "half a character"),
        ('x: "\\U99999999"', "not valid YAML"),
        ("!!int x", "invalid literal"),
        ("!!bool maybe", "not true or false"),
        ("a: [1", "line 1, column 6"),
        ("x" * 3 + ": " + "[" * 40 + "&a " * 500, "it is not valid YAML"),
    ],
)
def test_yaml_that_cannot_be_read_is_explained_in_one_bounded_line(text: str, says: str) -> None:
    with pytest.raises(FileError, match=re.escape(says)) as caught:
        parse_yaml(text, "it")
    assert len(str(caught.value)) < 500
    assert "\n" not in str(caught.value)


@pytest.mark.parametrize(
    "value",
    ["1e6", "no", "2026-01-01", "0o10", "1_0", ".5", "~", "<<", "", " x", "a: b", 1e6, 1e20, 5e-324, None, True, [{}]],
)
def test_written_yaml_is_read_back_as_the_same_value(value: Any) -> None:
    read = parse_yaml(to_yaml({"key": value}), "it")["key"]
    assert read == value
    assert type(read) is type(value)


@pytest.mark.parametrize(
    ("text", "says"),
    [
        ('{"a": 1, "a": 2}', "'a' appears twice"),
        ("[" * 100_000, "levels deep"),
        ("[" * 65 + "]" * 65, "levels deep"),
        ("NaN", "not finite"),
        ("-Infinity", "not finite"),
        ("1e999", "not finite"),
        ("9" * 5000, "too large"),
        ("[" * 2_000_001, "lists and objects"),
        ('"\\ud800"', "surrogates"),
        ('{\n"a"', "line 2, column 4"),
        ("", "line 1"),
        ("\0", "line 1"),
    ],
)
def test_json_that_cannot_be_read_is_explained(text: str, says: str) -> None:
    with pytest.raises(ValueError, match=says) as caught:
        parse_json(text)
    assert len(str(caught.value)) < 300


def test_json_may_be_nested_as_deep_as_the_limit() -> None:
    assert parse_json("[" * 64 + "]" * 64)


def test_values_are_cut_and_control_characters_shown() -> None:
    twice: Any = "x"
    for _ in range(100):
        twice = [twice, twice]
    assert len(shorten(twice)) <= 100
    assert len(shorten({"key": "y" * 10**6})) <= 100
    assert shorten(3) == "3"
    assert visible("a\x1b[31m\x9b\u202eb\n é") == "a\\u001b[31m\\u009b\\u202eb\n é"
