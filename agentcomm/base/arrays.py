"""Nested state as two files without pickle: arrays as safetensors, everything else as JSON.

The JSON file contains the structure. None, booleans, integers, finite floats, strings and lists are written as they
are; anything else is an object with one key, which names its type: ``{"array": name}``, ``{"dict": {}}``,
``{"items": [[key, value]]}`` for dictionaries with other keys than strings, ``{"tuple": []}``, ``{"bytes": base64}``
and ``{"float": "nan"}``. Other types are refused, in writing and in reading.
"""

from __future__ import annotations

import base64
import json
import math
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
from safetensors import SafetensorError, safe_open
from safetensors.numpy import save_file

from agentcomm.base.documents import LARGEST_JSON, read_text
from agentcomm.base.values import parse_json

DTYPES: dict[np.dtype[Any], str] = {
    np.dtype(dtype): name
    for dtype, name in (
        *((bool, "BOOL"), (np.uint8, "U8"), (np.int8, "I8"), (np.int16, "I16"), (np.int32, "I32"), (np.int64, "I64")),
        *((np.float16, "F16"), (np.float32, "F32"), (np.float64, "F64")),
    )
}
FLOATS = {"nan": math.nan, "inf": math.inf, "-inf": -math.inf}
# Bytes of arrays for which an expected state has no place, or an empty one.
EXTRA_LIMIT = 2**32


def save(state: Any, structure: Path, arrays: Path) -> None:
    """Write a state.

    Args:
        state: Dicts, lists, tuples, numpy arrays, numbers, strings, bytes and None.
        structure: The JSON file.
        arrays: The safetensors file.

    Raises:
        TypeError: If the state contains another type.
    """
    found: dict[str, np.ndarray] = {}
    text = json.dumps(_encoded(state, "", found), allow_nan=False)
    save_file(found, arrays)
    structure.write_text(text, encoding="utf-8")


def load(structure: Path, arrays: Path, expected: Any) -> Any:
    """Read a state that :func:`save` wrote.

    Args:
        structure: The JSON file.
        arrays: The safetensors file.
        expected: A state of the same structure. Where both have a value, types must be equal, and so must dtypes and
            shapes of arrays, except for dimensions of size 0 in ``expected``. This is checked before arrays are read.

    Raises:
        ValueError: If the files are not what :func:`save` writes, or the state does not fit the expected one.
        FileError: If the structure cannot be read.
    """
    text = read_text(structure, structure.name, LARGEST_JSON, structure.parent)
    try:
        with safe_open(arrays, "np") as file:
            headers = {name: _Header(name, file.get_slice(name)) for name in file.keys()}  # noqa: SIM118
            unread = dict(headers)
            state = _decoded(parse_json(text), unread)
            if unread:
                raise ValueError(f"{arrays.name} contains {min(unread)!r}, which {structure.name} does not name")
            extra = _check(state, expected, "")
            if extra > EXTRA_LIMIT:
                raise ValueError(f"{extra:,} bytes of arrays were not expected")
            return _filled(state, file.get_tensor)
    except SafetensorError as error:
        raise ValueError(f"{arrays.name} is not a safetensors file ({error})") from None


class _Header:
    """An array that has not been read yet."""

    def __init__(self, name: str, header: Any) -> None:
        self.name = name
        self.shape = tuple(header.get_shape())
        self.dtype = str(header.get_dtype())
        if self.dtype not in DTYPES.values():
            raise ValueError(f"array {name!r} has dtype {self.dtype}; known: {', '.join(DTYPES.values())}")

    @property
    def size(self) -> int:
        """Bytes."""
        itemsize = next(dtype.itemsize for dtype, name in DTYPES.items() if name == self.dtype)
        return int(math.prod(self.shape)) * itemsize


def _encoded(value: Any, path: str, arrays: dict[str, np.ndarray]) -> Any:
    """The value as JSON; its arrays are added to ``arrays`` under their path in the state."""
    if value is None or type(value) in (bool, int, str):
        return value
    if type(value) is float:
        return value if math.isfinite(value) else {"float": str(value)}
    if type(value) is bytes:
        return {"bytes": base64.b64encode(value).decode()}
    if type(value) is list:
        return [_encoded(item, f"{path}/{n}", arrays) for n, item in enumerate(value)]
    if type(value) is tuple:
        return {"tuple": [_encoded(item, f"{path}/{n}", arrays) for n, item in enumerate(value)]}
    if isinstance(value, dict):  # such as a module's OrderedDict, which is read as a dict
        items = [(key, _encoded(inner, f"{path}/{key}", arrays)) for key, inner in value.items()]
        if all(type(key) is str for key in value):
            return {"dict": dict(items)}
        return {"items": [[_encoded(key, path, arrays), inner] for key, inner in items]}
    if type(value) is np.ndarray and value.dtype in DTYPES:
        name = path.lstrip("/")
        while name in arrays:  # keys of a dict may differ only in their type
            name += "'"
        arrays[name] = np.asarray(value, order="C")
        return {"array": name}
    kind = f"{type(value).__name__} of {value.dtype}" if isinstance(value, np.ndarray) else type(value).__name__
    raise TypeError(f"{path.lstrip('/') or 'the state'}: a {kind} cannot be saved")


def _decoded(value: Any, unread: dict[str, _Header]) -> Any:
    """The state in a JSON value. Arrays are taken from ``unread``, each of them once."""
    if isinstance(value, list):
        return [_decoded(item, unread) for item in value]
    if not isinstance(value, dict):
        return value
    if len(value) != 1:
        raise ValueError("an object of the state needs exactly one key, which names its type")
    [(kind, content)] = value.items()
    if kind == "array" and type(content) is str and content in unread:
        return unread.pop(content)
    if kind == "tuple" and type(content) is list:
        return tuple(_decoded(item, unread) for item in content)
    if kind == "dict" and type(content) is dict:
        return {key: _decoded(inner, unread) for key, inner in content.items()}
    if kind == "items" and type(content) is list and all(type(pair) is list and len(pair) == 2 for pair in content):
        pairs = {_key(_decoded(k, {})): _decoded(v, unread) for k, v in content}
        if len(pairs) != len(content):
            raise ValueError("a dictionary of the state has the same key twice")
        return pairs
    if kind == "bytes" and type(content) is str:
        return base64.b64decode(content, validate=True)
    if kind == "float" and content in FLOATS:
        return FLOATS[content]
    raise ValueError(f"{kind!r} with {str(content)[:40]!r} is no value of a state")


def _key(key: Any) -> Any:
    if isinstance(key, tuple):
        return tuple(_key(part) for part in key)
    if key is None or isinstance(key, bool | int | float | str | bytes):
        return key
    raise ValueError(f"a {type(key).__name__} cannot be a key of a dictionary")


def _check(state: Any, expected: Any, path: str) -> int:
    """Compare a state with an expected one; returns the bytes of arrays that are not in the latter."""
    if isinstance(state, _Header) and isinstance(expected, np.ndarray):
        fits = len(state.shape) == expected.ndim and DTYPES[expected.dtype] == state.dtype
        if not fits or any(e not in (0, s) for s, e in zip(state.shape, expected.shape, strict=True)):
            raise ValueError(
                f"{path.lstrip('/')} has shape {list(state.shape)} and dtype {state.dtype}, not"
                f" {list(expected.shape)} and {DTYPES[expected.dtype]}"
            )
        return 0 if state.shape == expected.shape else state.size
    if expected is None or state is None:
        return _size(state)
    if _kind(state) != _kind(expected):
        raise ValueError(f"{path.lstrip('/') or 'the state'} is a {_kind(state)}, not a {_kind(expected)}")
    if isinstance(expected, dict):
        known = expected.keys()
        return sum(_check(v, expected[k], f"{path}/{k}") if k in known else _size(v) for k, v in state.items())
    if isinstance(expected, list | tuple):
        fresh = sum(_size(item) for item in state[len(expected) :])
        return fresh + sum(_check(s, e, f"{path}/{n}") for n, (s, e) in enumerate(zip(state, expected, strict=False)))
    return 0


def _kind(value: Any) -> str:
    if isinstance(value, _Header | np.ndarray):
        return "array"
    return "dict" if isinstance(value, dict) else type(value).__name__


def _size(state: Any) -> int:
    """Bytes of the arrays in a state."""
    if isinstance(state, _Header):
        return state.size
    parts = state.values() if isinstance(state, dict) else state if isinstance(state, list | tuple) else ()
    return sum(_size(part) for part in parts)


def _filled(state: Any, read: Callable[[str], np.ndarray]) -> Any:
    """The state with its arrays."""
    if isinstance(state, _Header):
        return read(state.name)
    if isinstance(state, dict):
        return {key: _filled(value, read) for key, value in state.items()}
    if isinstance(state, list | tuple):
        return type(state)(_filled(value, read) for value in state)
    return state
