"""What each defense costs: its share of an evaluation step at B = 1,024, and microseconds and bytes per message.

Every registered defense is measured with its arguments by default, in turn with the same team without it. Defenses that
need others, such as one that authenticates, are measured beside a team with these.
"""

from __future__ import annotations

import json
import os
import statistics
import time
from collections.abc import Iterator
from itertools import product
from pathlib import Path
from typing import Any, NamedTuple

import torch
from rich.console import Console
from rich.progress import track

from agentcomm.base import registry
from agentcomm.base.errors import ConfigError
from agentcomm.base.files import write_text
from agentcomm.base.versions import versions
from agentcomm.contracts.defense import defense_hooks
from agentcomm.contracts.world import World
from agentcomm.evaluation.calibration import Clean, calibrate
from agentcomm.runs.assembly import make_comms, make_policy, make_world
from agentcomm.runs.choices import Choice, TransportConfig
from agentcomm.step.loop import TeamLoop

WORLDS, STEPS, WARM = 1024, 10, 1
LIMIT = 0.25  # largest share of a step without a stated reason
TEAM: dict[str, Any] = {"name": "agreement", "members": 9, "observation": "indices"}
MARKET: dict[str, Any] = {"name": "task_market"}
POLICY: dict[str, Any] = {"name": "commformer", "width": 16, "blocks": 0, "topology": {"name": "full"}}
TRANSPORTS: tuple[dict[str, Any], ...] = ({}, {"channels": [{"name": "fragments", "mtu": 100}]}, {"codec": "vq"})
BEFORE: tuple[tuple[str, ...], ...] = ((), ("authenticate",))
NOISE = ({"name": "noise", "probability": 0.5},)
REASONS = {
    "ensemble": "the policy decides once per subset",
}
console = Console()


class Cost(NamedTuple):
    """What a defense costs.

    Attributes:
        beside: What the team has without it.
        share: Of a step without it.
        microseconds: Per message.
        size: Bytes per message, seal included.
    """

    beside: str
    share: float
    microseconds: float
    size: float


def loop(world: World, transport: TransportConfig, defenses: list[Choice]) -> TeamLoop:
    """A team of CommFormer that decides greedily, with half of its messages disturbed.

    Raises:
        ConfigError: If a defense does not find what it needs.
    """
    policy = make_policy(Choice.model_validate(POLICY), world).eval()
    attacks = [Choice.model_validate(one) for one in NOISE]
    comms = make_comms(world, policy, attacks, defenses, 0, transport)
    calibrate(comms.network.defenses, Clean(world, policy, transport))
    return TeamLoop(world, policy, comms)


def pairs(name: str) -> Iterator[tuple[str, TransportConfig, list[Choice], list[Choice]]]:
    """Teams that a defense may fit: what they have besides, and defenses without it and with it."""
    given = registry.find("defense", name).forms()[""]
    for transport, before in product(TRANSPORTS, BEFORE):
        others = [Choice(name=other) for other in before if other != name]
        wire = TransportConfig.model_validate(transport)
        beside = "+".join(other.name for other in others) or wire.label or "nothing"
        yield beside, wire, others, [*others, Choice.model_validate({"name": name} | given)]


def cost(name: str) -> Cost:
    """Measure a defense beside the first team that it fits.

    Raises:
        ConfigError: If it fits none.
    """
    market = "on_directory" in defense_hooks(registry.find("defense", name))
    missing = ConfigError(f"{name} fits no team")
    for beside, transport, without, defended in pairs(name):
        worlds = [make_world(Choice.model_validate(MARKET if market else TEAM), WORLDS) for _ in range(2)]
        try:
            loops = [loop(w, transport, some) for w, some in zip(worlds, (without, defended), strict=True)]
        except ConfigError as error:
            missing = error
            continue
        return compared(beside, *loops)
    raise missing


def compared(beside: str, plain: TeamLoop, defended: TeamLoop) -> Cost:
    """Steps of both teams in turn."""
    seconds: list[tuple[float, float]] = []
    for number in range(WARM + STEPS):
        taken = []
        for one in (plain, defended):
            if number % one.world.max_steps == 0:
                one.reset(number)
            began = time.perf_counter()
            one.finish(one.step())
            taken.append(time.perf_counter() - began)
        if number >= WARM:
            seconds.append((taken[0], taken[1]))
    ledgers = [one.comms.network.ledger for one in (plain, defended)]
    sent = [int(ledger["sent"].sum()) for ledger in ledgers]
    sizes = [int(ledger.bytes.sum()) / max(count, 1) for ledger, count in zip(ledgers, sent, strict=True)]
    more = statistics.median(b - a for a, b in seconds)
    share = statistics.median(b / a - 1 for a, b in seconds)
    each = 1e6 * more * (WARM + STEPS) / max(sent[1], 1)
    return Cost(beside, share, each, sizes[1] - sizes[0])


def verdict(name: str, found: Cost) -> str:
    """A reason for a share above the limit."""
    return REASONS.get(name, "**no reason is stated**") if found.share > LIMIT else ""


def main() -> None:
    """Measure every registered defense, and write ``defenses.md`` and ``defenses.json``."""
    torch.set_num_threads(1)
    here = Path(__file__).parent
    found = {name: cost(name) for name in track(registry.names("defense"), "measuring", console=console)}
    rows = []
    for name, one in found.items():
        numbers = f"{one.share:+.0%} | {one.microseconds:.2f} | {one.size:.0f}"
        rows.append(f"| `{name}` | {one.beside} | {numbers} | {verdict(name, one)} |")
    table = "\n".join(rows)
    text = f"""# What each defense costs

Written by `make bench`: a step of greedy CommFormer in {WORLDS:,} worlds of Agreement with nine members (or, for
defenses of a directory, of the task market), half of whose messages are disturbed by noise; medians of {STEPS} steps in
turn with the same team without the defense, on one thread of {os.cpu_count()} cores, load average
{os.getloadavg()[0]:.1f} at the end; {versions()}. Defenses have the arguments of their first form. Target: at most
{LIMIT:+.0%} of a step, or a reason.

| defense | beside | of a step | microseconds per message | bytes per message | why more |
|---|---|---|---|---|---|
{table}
"""
    write_text(here / "defenses.md", text)
    told = {name: {"microseconds": round(c.microseconds, 3), "bytes": round(c.size, 1)} for name, c in found.items()}
    write_text(here / "defenses.json", json.dumps(told, indent=1) + "\n")
    console.print(text, markup=False)


if __name__ == "__main__":
    main()
