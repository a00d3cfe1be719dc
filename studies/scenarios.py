"""The tasks on which graphs, sizes and budgets are compared: which runs they have, and which answers are known."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Literal, NamedTuple

import answers
from answers import Answer

GIVEN = ("random", "full", "ring", "exponential")
PEER_LIMIT = 6.8  # steps on Predator-Capture-Prey that a method must reach to stand in a table


class Scenario(NamedTuple):
    """A task with teams on several graphs.

    Attributes:
        title: As pages name it.
        run: The run of the learned graph, whose control has no messages.
        graphs: Runs by other graphs.
        metric: Of rows.
        factor: By which the metric is multiplied: one over the steps of an episode for means per step.
        better: Which way it improves.
        right, full, random, silent: Known answers.
        goal: What the learned graph must reach, as a share of the right graph's answer or as a value.
    """

    title: str
    run: str
    graphs: Mapping[str, str]
    metric: str = "mean_return"
    factor: float = 1.0
    better: Literal["higher", "lower"] = "higher"
    right: Answer | None = None
    full: Answer | None = None
    random: Answer | None = None
    silent: Answer | None = None
    goal: float | None = None


def _runs(name: str, graphs: tuple[str, ...] = GIVEN) -> dict[str, str]:
    return {graph: f"{name}_{graph}" for graph in graphs}


def _collisions(members: int) -> Scenario:
    right, full, random = (answers.collisions(members, graph) for graph in ("right", "full", "random"))
    silent = right | {"informed": 0.0}
    name = f"collisions_{members}"
    goal = 0.97 * answers.value(right)
    title = f"collisions, {members} agents"
    runs = _runs(name, GIVEN if members < 128 else GIVEN[:1])
    return Scenario(title, name, runs, "mean_return", 1 / 8, "higher", right, full, random, silent, goal)


def _cliques(members: int) -> Scenario:
    known = (answers.cliques(members, graph) for graph in ("right", "full", "random", "silent"))
    goal = 0.88 if members == 64 else None
    name = f"cliques_{members}"
    runs = _runs(name, GIVEN if members < 128 else GIVEN[:1])
    return Scenario(f"cliques, {members} agents", name, runs, "mean_return", 1 / 8, "higher", *known, goal)


def _relay(memory: bool) -> Scenario:
    right, random, silent = (answers.relay(8, graph, memory) for graph in ("right", "random", "silent"))
    name = f"relay_line{'_memory' if memory else ''}"
    title = f"relay line, {'with' if memory else 'without'} memory"
    return Scenario(title, name, _runs(name), "mean_return", 1 / 8, "higher", right, None, random, silent)


def _whisper(title: str, run: str) -> Scenario:
    right, silent = (answers.whisper(16, graph) for graph in ("one_peer", "silent"))
    goal = answers.value(answers.whisper(16, "matching"))
    runs = _runs("whisper", (*GIVEN, "one_peer"))
    return Scenario(title, run, runs, "mean_return", 1 / 8, "higher", right, None, None, silent, goal)


CAPTURE = Scenario(
    "Predator-Capture-Prey",
    "capture",
    {"random": "capture_random", "full": "capture_full"},
    "mean_steps",
    better="lower",
)
COLLISIONS = {n: _collisions(n) for n in (16, 64, 128)}
CLIQUES = {n: _cliques(n) for n in (16, 64, 128)}
RELAY = {memory: _relay(memory) for memory in (False, True)}
SCHEDULED = _whisper("whisper, one scheduler for all", "whisper")
BY_NAME = _whisper("whisper, receivers choose by name", "whisper_individual")
BY_DISTANCE = _whisper("whisper, receivers choose by distance", "whisper_distance")
WHISPER = (SCHEDULED, BY_NAME, BY_DISTANCE)
SCENARIOS = (CAPTURE, *COLLISIONS.values(), *CLIQUES.values(), *RELAY.values(), *WHISPER)

EIGHT = {
    f"capture_graph_{n}": heard
    for n, heard in enumerate(("1, 0, 0", "1, 0, 1", "1, 2, 0", "1, 2, 1", "2, 0, 0", "2, 0, 1", "2, 2, 0", "2, 2, 1"))
}
PRICED = {
    ("action", "0.01"): "capture_gate_action_01",
    ("action", "0.03"): "capture_gated",
    ("action", "0.1"): "capture_gate_action_10",
    ("action", "rate 0.5"): "capture_gate_action_rate",
    ("straight-through", "0.01"): "capture_gate_through_01",
    ("straight-through", "0.03"): "capture_gate_through_03",
    ("straight-through", "0.1"): "capture_gate_through_10",
    ("straight-through", "rate 0.5"): "capture_gate_through_rate",
}
PEERS = {
    "CommFormer": "capture",
    "CommFormer on the full graph": "capture_full",
    "CommFormer, with memory": "peer_commformer_memory",
    "MAT (full graph)": "peer_mat",
    "CommNet": "peer_commnet",
    "IC3Net": "peer_ic3net",
    "IC3Net, with memory": "peer_ic3net_memory",
    "TarMAC": "peer_tarmac",
    "TarMAC, with memory": "peer_tarmac_memory",
    "MAGIC": "peer_magic",
    "MAGIC, with memory": "peer_magic_memory",
    "ExpoComm, static": "peer_expocomm_static",
    "ExpoComm, static as released": "peer_expocomm_released",
    "ExpoComm, one peer": "peer_expocomm_one_peer",
    "SLIM": "peer_slim",
    "CoDe": "peer_code",
    "CommFormer with DDCL": "peer_ddcl",
    "MAPPO, no messages": "peer_mappo",
    "IPPO, no messages": "peer_ippo",
}
ORDERED = {
    "CommFormer, a graph of each step by one scheduler for all": "whisper",
    "CommFormer, a graph of each step, receivers choose by name": "whisper_individual",
    "CommFormer, a graph of each step, receivers choose by distance": "whisper_distance",
    "CommFormer, one peer per step, given": "whisper_one_peer",
    "CommFormer, exponential graph": "whisper_exponential",
    "ExpoComm, static": "whisper_expocomm_static",
    "ExpoComm, one peer": "whisper_expocomm_one_peer",
}
OTHER_TASKS = ("traffic_easy", "traffic_medium", "traffic_hard", "prey_10", "prey_10_memory", "prey_20")
# Environments whose teams with and without messages are compared, of this package and of others.
ELSEWHERE: tuple[str, ...] = (
    "hallway",
    "hallway_c",
    "sensor_consensus",
    "sensor_consensus_continuous",
    "cyber_defense",
)
ELSEWHERE += ("speaker_listener", "speaker_listener_continuous", "relay", "foraging", "mpe_speaker_listener")
WORTH = (*ELSEWHERE, "capture", "collisions_16", "agreement_9", "reactor", "market")
CARRIED = {"members": 128, "copies": 2}  # a team of 64 on the cliques of 128
HINT = "hint_gate"
SPREAD = "whisper_spread"  # cells of studies/spread.py
TUNING = "peer_tuning"  # cells of studies/peers.py
KINDS, PRICES, LOGITS = ("straight-through", "action"), ("0.03", "0.1"), ("3.0", "0.0", "-3.0")


def hint(kind: str, price: str, logit: str, explored: bool = True) -> str:
    """The label of conditions of a cell of the hint task, with the present settings or those without exploration."""
    label = f"{kind} gate of the receiver, price {price}, initial logit {logit}"
    return f"{label}, closed gates explored" if explored else label
