"""Ways to damage a file, and a small run to damage."""

from __future__ import annotations

import copy
import json
import os
import random
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

from small import small

from agentcomm import api
from agentcomm.base.files import append_line
from agentcomm.runs import policy_file
from agentcomm.runs.assembly import make_policy, make_world
from agentcomm.runs.folder import Run, create, teams

DEEP = "[" * 10_000 + "]" * 10_000


def write_run(root: Path, **fields: Any) -> Run:
    """A run with an untrained team, evaluated, with everything that training leaves."""
    short = {"episodes": 4, "recordings": 1, "attacks": [{"name": "drop"}]}
    run = create(small(control=False, evaluation=short, **fields), root)
    config = run.located()
    for variant, seed in teams(config):
        policy = make_policy(config.policy, make_world(config.environment, 1), variant, seed)
        details = {"env_steps": config.training.env_steps}
        policy_file.save(run.policy(variant, seed), policy, config.environment, config.policy, variant, seed, details)
        for number in range(2):
            row = {"iteration": number + 1, "env_steps": 128, "seconds": 0.5, "episode_length": 7.5, "success": 0.1}
            append_line(run.team(variant, seed) / "progress.jsonl", row)
    api.evaluate(run)
    return run


def _content(content: bytes) -> Callable[[Path], None]:
    def write(path: Path) -> None:
        path.write_bytes(content)

    return write


def _folder(path: Path) -> None:
    path.unlink()
    path.mkdir()


def _pipe(path: Path) -> None:
    path.unlink()
    os.mkfifo(path)


def _link_out(path: Path) -> None:
    path.unlink()
    path.symlink_to("/etc/passwd")


def _loop(path: Path) -> None:
    path.unlink()
    path.symlink_to(path)


def _device(path: Path) -> None:
    path.unlink()
    path.symlink_to("/dev/zero")


def _cut(path: Path) -> None:
    path.write_bytes(path.read_bytes()[: path.stat().st_size // 2])


def _flip(path: Path) -> None:
    content = bytearray(path.read_bytes())
    content[len(content) // 3] ^= 0x80
    path.write_bytes(content)


DAMAGE: dict[str, Callable[[Path], None]] = {
    "missing": Path.unlink,
    "empty": _content(b""),
    "spaces": _content(b" \n \n"),
    "zeros": _content(b"\0" * 100),
    "binary": _content(bytes(range(256)) * 10),
    "latin-1": _content("name: caf\xe9\n".encode("latin-1")),
    "null": _content(b"null\n"),
    "number": _content(b"3\n"),
    "text": _content(b'"text"\n'),
    "list": _content(b"[]\n"),
    "object": _content(b"{}\n"),
    "nested list": _content(DEEP.encode()),
    "nested object": _content(b'{"a":' * 10_000),
    "long number": _content(b'{"seed": ' + b"9" * 5000 + b"}"),
    "not finite": _content(b'{"seed": NaN, "name": .inf}'),
    "twice": _content(b'{"name": "a", "name": "b"}'),
    "surrogate": _content(b'{"name": "\\ud800"}'),
    "pickle": _content(b"\x80\x04\x95\x1a\x00\x00\x00\x00\x00\x00\x00\x8c\x05posix\x94\x8c\x06system\x94\x93\x94."),
    "folder": _folder,
    "pipe": _pipe,
    "link out": _link_out,
    "loop": _loop,
    "device": _device,
    "cut": _cut,
    "flipped": _flip,
}

VALUES: list[Any] = [None, "x", "", -1, 3, 0.5, 1e308, 2**63, True, [], [None], [[]], {}, {"a": {}}, ["x"] * 3]
VALUES += [json.loads("[" * 100 + "]" * 100), "\x1b[31m\u202e</script><img src=x onerror=alert(1)>", "../" * 20]


def mutations(document: Any, count: int, seed: int) -> Iterator[tuple[str, Any]]:
    """Copies of a document, each with one value removed or replaced, and what was done."""
    draw = random.Random(seed)
    places = list(_places(document))
    for _ in range(count):
        changed = copy.deepcopy(document)
        *parents, last = draw.choice(places)
        node = changed
        for key in parents:
            node = node[key]
        if draw.random() < 0.1:
            del node[last]
            yield f"{parents}.{last} removed", changed
        else:
            value = draw.choice(VALUES)
            node[last] = copy.deepcopy(value)
            yield f"{parents}.{last} = {str(value)[:40]}", changed


def _places(document: Any, at: tuple[Any, ...] = ()) -> Iterator[tuple[Any, ...]]:
    items = document.items() if isinstance(document, dict) else enumerate(document)
    for key, value in items:
        yield (*at, key)
        if isinstance(value, dict | list):
            yield from _places(value, (*at, key))
