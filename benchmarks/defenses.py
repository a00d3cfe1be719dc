"""What each defense costs: its share of an evaluation step at B = 1,024, and microseconds and bytes per message.

Every registered defense is measured with its arguments by default, in turn with the same team without it: the team of
docs/countermeasures.md on which it is deployed there. Defenses that need others, such as one that authenticates, are
measured beside a team with these. What counts is processor time, since other processes may run on the machine.
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
import yaml
from rich.console import Console
from rich.progress import track

from agentcomm.base import registry
from agentcomm.base.errors import ConfigError
from agentcomm.base.files import write_text
from agentcomm.contracts.defense import defense_hooks
from agentcomm.evaluation.calibration import Clean, calibrate
from agentcomm.runs.assembly import make_comms, make_policy, make_world
from agentcomm.runs.choices import Choice, TransportConfig
from agentcomm.step.loop import TeamLoop
from benchmarks.packages import packages

WORLDS, STEPS, WARM = 1024, 12, 2
LIMIT = 0.25  # largest share of a step without a stated reason
TEAMS = Path(__file__).parents[1] / "studies" / "teams"
CAPTURE, AGREEMENT, MARKET = "capture", "agreement_9", "market"
# Deployed where senders repeat each other; without these, on Predator-Capture-Prey.
ON_AGREEMENT = ("median", "trimmed_mean", "krum", "geometric_median", "w_msr", "cross_check", "bristle")
ON_AGREEMENT += ("ensemble", "smoothing", "subset", "graph_anomaly", "quorum")
TRANSPORTS: tuple[dict[str, Any], ...] = ({}, {"channels": [{"name": "fragments", "mtu": 100}]}, {"codec": "vq"})
BEFORE: tuple[tuple[str, ...], ...] = ((), ("authenticate",))
NOISE = ({"name": "noise", "probability": 0.5},)
HASHES = "keyed hashes over payload and header, to seal and to verify: three quarters of it"
READS = "a network with two hidden layers of 64 reads every message: about {} multiplications each"
RANKS = "ranks each number of an inbox (a quarter of it), then payloads are one per link, not one per sender"
PAIRS = "distances between all pairs of the eight messages of each inbox"
REASONS = {
    "audit": HASHES,
    "authenticate": HASHES,
    "capability": HASHES,
    "bristle": "sorts each inbox four times, by distance and then by place: half of it",
    "codeword": "compares every part of a payload with all codewords",
    "cross_check": PAIRS,
    "ensemble": "the policy decides once per subset",
    "gaussian_process": "the conditional of each message given its inbox, by an inverse per inbox: two thirds of it",
    "geometric_median": "eight passes of Weiszfeld's algorithm over all payloads",
    "graph_anomaly": READS.format("10,000"),
    "hop_limit": "compares every message with the 40 entries that the log holds of its sender",
    "krum": PAIRS,
    "latent_experts": "a product of experts without each message, twice: four fifths of it",
    "median": RANKS,
    "outliers": "20 trees of depth 8 per message: 160 comparisons",
    "reconstruct": READS.format("17,000"),
    "reliability": READS.format("15,000"),
    "smoothing": "the policy decides once per copy",
    "trimmed_mean": RANKS,
    "w_msr": "finds the extremes of each number of an inbox above and below: four fifths of it in this hook",
}
console = Console()


class Cost(NamedTuple):
    """What a defense costs.

    Attributes:
        team: The team, a file of ``studies/teams``.
        beside: What the team has without it.
        share: Of a step without it.
        microseconds: Per message.
        size: Bytes per message, seal included.
    """

    team: str
    beside: str
    share: float
    microseconds: float
    size: float


def loop(team: dict[str, Any], transport: TransportConfig, defenses: list[Choice]) -> TeamLoop:
    """A team that decides greedily, with half of its messages disturbed.

    Raises:
        ConfigError: If a defense does not find what it needs.
    """
    world = make_world(Choice.model_validate(team["environment"]), WORLDS)
    policy = make_policy(Choice.model_validate(team["policy"]), world).eval()
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
    listed = "on_directory" in defense_hooks(registry.find("defense", name))
    on = MARKET if listed else AGREEMENT if name in ON_AGREEMENT else CAPTURE
    team = yaml.safe_load((TEAMS / f"{on}.yaml").read_text(encoding="utf-8"))
    missing = ConfigError(f"{name} fits no team")
    for beside, transport, without, defended in pairs(name):
        try:
            loops = [loop(team, transport, some) for some in (without, defended)]
        except ConfigError as error:
            missing = error
            continue
        return compared(on, beside, *loops)
    raise missing


def compared(team: str, beside: str, plain: TeamLoop, defended: TeamLoop) -> Cost:
    """Steps of both teams in turn."""
    seconds: list[tuple[float, float]] = []
    for number in range(WARM + STEPS):
        taken = []
        for one in (plain, defended):
            if number % one.world.max_steps == 0:
                one.reset(number)
            began = time.process_time()
            one.finish(one.step())
            taken.append(time.process_time() - began)
        if number >= WARM:
            seconds.append((taken[0], taken[1]))
    ledgers = [one.comms.network.ledger for one in (plain, defended)]
    sent = [int(ledger["sent"].sum()) for ledger in ledgers]
    sizes = [int(ledger.bytes.sum()) / max(count, 1) for ledger, count in zip(ledgers, sent, strict=True)]
    more = statistics.median(b - a for a, b in seconds)
    share = statistics.median(b / a - 1 for a, b in seconds)
    each = 1e6 * more * (WARM + STEPS) / max(sent[1], 1)
    return Cost(team, beside, share, each, sizes[1] - sizes[0])


def verdict(name: str, found: Cost) -> str:
    """A reason for a share above the limit."""
    return REASONS.get(name, "**no reason is stated**") if found.share > LIMIT else ""


def page(found: dict[str, Cost]) -> str:
    """``defenses.md``."""
    rows = []
    for name, one in found.items():
        numbers = f"{one.share:+.0%} | {one.microseconds:.2f} | {one.size:.0f}"
        rows.append(f"| `{name}` | {one.team} | {one.beside} | {numbers} | {verdict(name, one)} |")
    table = "\n".join(rows)
    return f"""# What each defense costs

Written by `make bench`: processor time of a greedy step in {WORLDS:,} worlds, half of whose messages are disturbed by
noise, with the environment and policy of a team of [the countermeasures](../docs/countermeasures.md)
(`studies/teams`); medians of {STEPS} steps in turn with the same team without the defense, on one thread of
{os.cpu_count()} cores, load average {os.getloadavg()[0]:.1f} at the end; {packages()}. Defenses have the arguments of
their first form. Target: at most {LIMIT:+.0%} of a step, or a reason.

| defense | team | beside | of a step | microseconds per message | bytes per message | why more |
|---|---|---|---|---|---|---|
{table}
"""


def main() -> None:
    """Measure every registered defense, and write ``defenses.md`` and ``defenses.json``."""
    torch.set_num_threads(1)
    here = Path(__file__).parent
    found = {name: cost(name) for name in track(registry.names("defense"), "measuring", console=console)}
    text = page(found)
    write_text(here / "defenses.md", text)
    told = {name: {"microseconds": round(c.microseconds, 3), "bytes": round(c.size, 1)} for name, c in found.items()}
    write_text(here / "defenses.json", json.dumps(told, indent=1) + "\n")
    console.print(text, markup=False)


if __name__ == "__main__":
    main()
