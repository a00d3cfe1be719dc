"""The walk of one message: in which files of a checkout functions are entered while one exchange is carried.

``benchmarks.structure`` runs this in a process of its own, with another checkout's packages on the path:

PYTHONPATH=<checkout> python -P benchmarks/walk.py <checkout>    prints the files in order, as JSON
"""

from __future__ import annotations

import json
import sys
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path
from types import FrameType
from typing import Any

ATTACK = ("tamper", {"how": "bias", "probability": 0.5})
CHANNEL = ("loss", {"probability": 0.2})
CODEC = ("int8", {})
DEFENSES = (("authenticate", {}), ("clip", {}))


@dataclass(frozen=True)
class Layout:
    """The parts of a checkout that a message needs, under the names that they have there.

    Attributes:
        registry: Module with ``find`` and ``build_config``.
        make_shape: Sizes of a team from its number of agents and its degree.
        make_network: A network from sizes, attacks, defenses, channels and a codec.
        round_of: Number of an exchange within its step.
    """

    registry: Any
    make_shape: Callable[[int, int], Any]
    make_network: Callable[..., Any]
    round_of: Callable[[Any], int]


def present() -> Layout:
    """The layout of this checkout: a network gets the message guards of an adversary."""
    from agentcomm.base import registry
    from agentcomm.conformance.conversations import make_team_shape
    from agentcomm.step.comms import Comms

    def make_network(*parts: Any, **more: Any) -> Any:
        return Comms.between(*parts, **more).network

    return Layout(registry, make_team_shape, make_network, lambda exchange: exchange.round)


def before() -> Layout:
    """The layout before the rebuild: a network gets attacks."""
    from agentcomm.messages.network import Network

    from agentcomm import registry
    from agentcomm.conformance.conversations import make_setting

    return Layout(registry, make_setting, Network, lambda exchange: exchange.kind)


def exchanges(layout: Layout) -> list[Callable[[], object]]:
    """Exchanges of a random conversation under attack, on a lossy channel, coded and defended: each can be run once."""
    from agentcomm.conformance.conversations import conversation

    def plug_in(axis: str, stage: tuple[str, dict[str, Any]], *sizes: Any) -> Any:
        return layout.registry.find(axis, stage[0])(layout.registry.build_config(axis, *stage), *sizes)

    shape = layout.make_shape(4, 3)
    attack = plug_in("attack", ATTACK, shape)
    channel = plug_in("channel", CHANNEL, shape, shape.degree)
    codec = plug_in("codec", CODEC, shape)
    defenses = [plug_in("defense", defense, shape) for defense in DEFENSES]
    network = layout.make_network(shape, [attack], defenses, channels=[channel], codec=codec)

    def run(e: Any) -> Callable[[], object]:
        return lambda: network.exchange(e.spoken, e.links, e.step, layout.round_of(e))

    return [run(e) for e in conversation(shape, num_steps=4)]


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
    root = Path(sys.argv[1]).resolve()
    *warm_up, last = exchanges(before() if (root / "agentcomm" / "messages" / "network.py").exists() else present())
    for run in warm_up:
        run()
    print(json.dumps(trace(last, root)))


if __name__ == "__main__":
    main()
