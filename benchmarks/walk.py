"""The walk of one message: in which files of a checkout functions are entered while one exchange is carried.

``benchmarks.structure`` runs this in a process of its own, with another checkout's packages on the path:

PYTHONPATH=<checkout> python -P benchmarks/walk.py <checkout>    prints the files in order, as JSON
"""

from __future__ import annotations

import json
import sys
from collections.abc import Callable
from pathlib import Path
from types import FrameType
from typing import Any

ATTACK = ("tamper", {"how": "bias", "probability": 0.5})
CHANNEL = ("loss", {"probability": 0.2})
CODEC = ("int8", {})
DEFENSES = (("authenticate", {}), ("clip", {}))


def plug_in(axis: Any, stage: tuple[str, dict[str, Any]], *sizes: Any) -> Any:
    """A plug-in with these arguments."""
    try:
        from agentcomm.base.registry import build_config, find
    except ImportError:
        from agentcomm.registry import build_config, find
    return find(axis, stage[0])(build_config(axis, *stage), *sizes)


def exchanges() -> list[Callable[[], object]]:
    """Exchanges of a random conversation under attack, on a lossy channel, coded and defended: each can be run once."""
    from agentcomm.conformance import conversations

    make_shape = getattr(conversations, "make_shape", None) or conversations.make_setting
    shape = make_shape(4, 3)
    said = conversations.conversation(shape, num_steps=4)
    attack = plug_in("attack", ATTACK, shape)
    channel = plug_in("channel", CHANNEL, shape, shape.degree)
    codec = plug_in("codec", CODEC, shape)
    defenses = [plug_in("defense", defense, shape) for defense in DEFENSES]
    try:
        from agentcomm.network.network import Network
    except ImportError:  # before the rebuild
        from agentcomm.messages.network import Network
    try:
        from agentcomm.step.adversary import Adversary

        guards: Any = Adversary([attack], shape, 0).message_guards
    except ImportError:
        guards = [attack]
    network = Network(shape, guards, defenses, channels=[channel], codec=codec)

    def run(e: Any) -> Callable[[], object]:
        round_ = e.round if hasattr(e, "round") else e.kind
        return lambda: network.exchange(e.spoken, e.links, e.step, round_)

    return [run(e) for e in said]


def trace(run: Callable[[], object], root: Path) -> list[str]:
    """Files below a folder in which functions are entered, in order; one entry for all calls in a row in one file."""
    files: list[str] = []

    def note(frame: FrameType, event: str, _: object) -> None:
        path = frame.f_code.co_filename
        # What Python makes of a dataclass has no file, and comprehensions belong to the function around them.
        if event == "call" and path.startswith(f"{root}/") and not frame.f_code.co_name.startswith("<"):
            name = path[len(str(root)) + 1 :]
            if not name.startswith(".venv") and (not files or files[-1] != name):
                files.append(name)

    sys.setprofile(note)
    try:
        run()
    finally:
        sys.setprofile(None)
    return files


def main() -> None:
    """Trace an exchange after some others have filled all memories."""
    *warm_up, last = exchanges()
    for run in warm_up:
        run()
    print(json.dumps(trace(last, Path(sys.argv[1]).resolve())))


if __name__ == "__main__":
    main()
