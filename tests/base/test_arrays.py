"""State comes back as it was saved, and files that are not what was saved are refused before arrays are read."""

from __future__ import annotations

import json
import math
from collections import OrderedDict
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from safetensors.numpy import save_file

from agentcomm.base import arrays
from agentcomm.base.errors import AgentcommError

STATE: dict[str, Any] = {
    "plain": [None, True, 1, 2**63, 0.1, -0.0, math.inf, "text", b"\x00bytes", [], (), (1, (2.5, "x"))],
    "tensors": OrderedDict(weights=np.arange(6, dtype=np.float32).reshape(2, 3), scalar=np.array(1.5)),
    "places": {(0, 1, (2, 3, 4)): b"sent", 7: np.zeros((4, 0, 2), np.int64), None: {}, "7": np.ones(2, bool)},
}


def saved(folder: Path, state: Any) -> tuple[Path, Path]:
    files = folder / "state.json", folder / "state.safetensors"
    arrays.save(state, *files)
    return files


def same(one: Any, other: Any) -> bool:
    if isinstance(one, np.ndarray):
        return one.dtype == other.dtype and one.shape == other.shape and bool((one == other).all())
    if isinstance(one, dict):
        return list(one) == list(other) and all(same(value, other[key]) for key, value in one.items())
    if isinstance(one, list | tuple):
        return type(one) is type(other) and len(one) == len(other) and all(map(same, one, other))
    return type(one) is type(other) and repr(one) == repr(other)


def test_a_state_comes_back(tmp_path: Path) -> None:
    assert same(STATE, arrays.load(*saved(tmp_path, STATE), STATE))
    assert same(STATE, arrays.load(*saved(tmp_path, STATE), {}))


@pytest.mark.parametrize(
    ("value", "named"),
    [
        (object(), "object"),
        (torch.zeros(1), "Tensor"),
        (np.array([object()]), "ndarray of object"),
        (np.array(["text"]), "ndarray of <U4"),
        (np.float32(1), "float32"),
        ({1, 2}, "set"),
    ],
)
def test_other_types_are_not_saved(tmp_path: Path, value: Any, named: str) -> None:
    with pytest.raises(TypeError, match=f"worlds/0: a {named} cannot be saved"):
        saved(tmp_path, {"worlds": [value]})


@pytest.mark.parametrize(
    ("text", "why"),
    [
        ('{"pickle": "gASV"}', "'pickle'"),
        ('{"array": "secret"}', "'array'"),
        ('{"array": "x", "dict": {}}', "exactly one key"),
        ('[{"array": "x"}, {"array": "x"}]', "'array'"),
        ('{"dict": [1]}', "'dict'"),
        ('{"items": [[1, 2, 3]]}', "'items'"),
        ('{"items": [[1, 2], [1, 3]]}', "same key twice"),
        ('{"items": [[[1], 2]]}', "cannot be a key"),
        ('{"tuple": 1}', "'tuple'"),
        ('{"bytes": "?"}', "base64"),
        ('{"float": "1e9"}', "'float'"),
        ("NaN", "not finite"),
        ("[" * 100_000, "nested"),
        ("not json", "line 1"),
        ("{}", "exactly one key"),
        ('{"dict": {}}', "contains 'x', which state.json does not name"),
    ],
)
def test_a_structure_of_another_kind_is_refused(tmp_path: Path, text: str, why: str) -> None:
    structure, tensors = saved(tmp_path, {"x": np.zeros(2)})
    structure.write_text(text)
    with pytest.raises((ValueError, AgentcommError), match=why):
        arrays.load(structure, tensors, {})


def test_arrays_of_another_shape_are_refused_before_they_are_read(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    def never(*_: Any) -> Any:
        raise AssertionError("an array was read")

    monkeypatch.setattr(arrays, "_filled", never)
    files = saved(tmp_path, {"w": np.zeros((1000, 3), np.float32), "n": 1})
    for fits in (np.zeros((2, 3), np.float32), np.zeros((1000, 3)), np.zeros(3000, np.float32)):
        with pytest.raises(ValueError, match=r"^w has shape \[1000, 3\] and dtype F32, not"):
            arrays.load(*files, {"w": fits, "n": 1})
    for value, kind in (("1", "str"), (1.0, "float"), (True, "bool"), ([], "list"), (np.zeros(1), "array")):
        with pytest.raises(ValueError, match=f"n is a int, not a {kind}"):
            arrays.load(*files, {"n": value})
    with pytest.raises(ValueError, match="w is a array, not a int"):
        arrays.load(*files, {"w": 1})


def test_only_what_is_expected_empty_may_grow(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    files = saved(tmp_path, {"seen": np.zeros((4, 9, 2)), "more": [np.zeros(8)]})
    assert arrays.load(*files, {"seen": np.zeros((4, 0, 2))})["seen"].shape == (4, 9, 2)
    with pytest.raises(ValueError, match="seen has shape"):
        arrays.load(*files, {"seen": np.zeros((5, 0, 2))})
    monkeypatch.setattr(arrays, "EXTRA_LIMIT", 600)
    with pytest.raises(ValueError, match="640 bytes of arrays were not expected"):
        arrays.load(*files, {"seen": np.zeros((4, 0, 2))})


def test_a_header_that_claims_more_than_the_file_is_refused(tmp_path: Path) -> None:
    structure, tensors = saved(tmp_path, {"x": np.zeros(2)})
    header = json.dumps({"x": {"dtype": "F64", "shape": [2**40], "data_offsets": [0, 2**43]}}).encode()
    tensors.write_bytes(len(header).to_bytes(8, "little") + header + bytes(16))
    with pytest.raises(ValueError, match=r"state\.safetensors is not a safetensors file"):
        arrays.load(structure, tensors, {})
    save_file({"x": np.zeros(2), "y": np.zeros(2)}, tensors)
    with pytest.raises(ValueError, match="contains 'y'"):
        arrays.load(structure, tensors, {})
