"""Calibration of defenses: plays clean episodes of a cell's team, and lets the cell's defenses learn from them.

The episodes are played under the cell's conditions (environment, gates, transport, decisions), without attack and
defense, from a seed of their own: once per process, team and conditions. Every defense learns from them once; nothing
is written to disk. All draws are seeded, so workers, reruns and replays of an episode use the same calibration.
"""

from __future__ import annotations

from collections.abc import Sequence
from contextlib import closing
from dataclasses import dataclass
from typing import TypeVar

import torch
from torch import Tensor

from agentcomm.base.seeds import derive, fingerprint
from agentcomm.contracts.calibrating import Learned, learn, take_over
from agentcomm.contracts.defense import Defense
from agentcomm.contracts.examples import Examples
from agentcomm.contracts.inbox import Inbox, gather_agents
from agentcomm.contracts.policy import CommPolicy
from agentcomm.contracts.traffic import Links
from agentcomm.contracts.world import World
from agentcomm.runs.assembly import make_comms
from agentcomm.runs.choices import TransportConfig
from agentcomm.step.comms import Comms
from agentcomm.step.gates import GateControl
from agentcomm.step.loop import StepRecord, TeamLoop
from agentcomm.step.perceive import perceive
from agentcomm.step.preview import predict_logits

T = TypeVar("T")
KEPT = 4  # teams and conditions whose episodes a process keeps
_played: dict[str, Examples] = {}
_learned: dict[str, Learned] = {}


@dataclass(frozen=True)
class Clean:
    """Clean episodes of a team.

    Attributes:
        world: Worlds like those of the episodes, in any number.
        policy: The policy.
        transport: How messages travel.
        sampled: Whether decisions are sampled.
        gates: Probability that a gate is open; None if the policy controls the gates.
        seed: Seed of the episodes.
    """

    world: World
    policy: CommPolicy
    transport: TransportConfig
    sampled: bool = False
    gates: float | None = None
    seed: int = 0

    @property
    def key(self) -> str:
        """What the episodes depend on."""
        world = type(self.world)
        parts = (
            *(f"{world.__module__}.{world.__qualname__}", self.world.config.model_dump_json(), self.world.device),
            *(fingerprint(self.policy), self.transport.model_dump_json(), self.sampled, self.gates, self.seed),
        )
        return "|".join(map(str, parts))


def calibrate(defenses: Sequence[Defense], clean: Clean) -> None:
    """Calibrate the defenses that need it.

    Args:
        defenses: The defenses of a team.
        clean: Where its clean episodes come from.

    Raises:
        AgentcommError: If the code of a plug-in fails.
    """
    needy = [defense for defense in defenses if defense.calibration and not defense.calibrated]
    if not needy:
        return
    key = clean.key
    for defense in needy:
        episodes = f"{key}|{defense.calibration}"
        kind = f"{type(defense).__module__}.{type(defense).__qualname__}|{defense.config.model_dump_json()}"
        name = f"{episodes}|{kind}"
        if name not in _learned:
            if episodes not in _played:
                _keep(_played, episodes, examples(clean, defense.calibration), KEPT)
            _keep(_learned, name, learn(defense, _played[episodes], clean.seed), 16 * KEPT)
        take_over(defense, _learned[name])


def _keep(kept: dict[str, T], key: str, value: T, most: int) -> None:
    """Keep a value, and forget the oldest ones."""
    kept[key] = value
    while len(kept) > most:
        del kept[next(iter(kept))]


def examples(clean: Clean, episodes: int) -> Examples:
    """The messages of clean episodes.

    Args:
        clean: Where they come from.
        episodes: How many.
    """
    policy, world = clean.policy, clean.world
    was_training = policy.training
    policy.eval()
    seed = derive(clean.seed, "calibration")
    try:
        with (
            torch.no_grad(),
            closing(type(world)(world.config, episodes, world.device)) as own,
            closing(make_comms(own, policy, seed=seed, transport=clean.transport)) as comms,
        ):
            return _play(own, comms, clean, seed)
    finally:
        policy.train(was_training)


def _play(world: World, comms: Comms, clean: Clean, seed: int) -> Examples:
    policy = clean.policy

    def generator(purpose: str) -> torch.Generator:
        return torch.Generator(world.device).manual_seed(derive(seed, purpose))

    control = None if clean.gates is None else GateControl(clean.gates, generator("gates"))
    loop = TeamLoop(world, policy, comms, generator("decisions") if clean.sampled else None, control)
    loop.reset(seed)
    taken: list[_Sample] = []
    for _ in range(world.max_steps):
        memory, alive = loop.memory, loop.alive
        record = loop.step()
        taken += _samples(policy, record, memory, alive)
        loop.finish(record)
        if not bool(loop.running.any()):
            break
    return _joined(policy, taken, generator("calibrate"), world)


PREDICTED_FROM = ("state", "memory", "asked", "allowed")


@dataclass(frozen=True)
class _Sample:
    """One exchange of the worlds that were running, and what the team needs to act on it.

    Attributes:
        round: The exchange.
        episode: [S] int64, worlds.
        step: [S] int64.
        inbox: Rows are the running worlds.
        state: [S, N, H] before the exchange.
        memory: [S, N, S'] with this step's observations.
        asked: [S, N, k] bool, or [S, G, N, k]: links that were open before the network.
        allowed: [S, N, P] bool, what agents could do.
    """

    round: int
    episode: Tensor
    step: Tensor
    inbox: dict[str, Tensor]
    state: Tensor
    memory: Tensor
    asked: Tensor
    allowed: Tensor


def _samples(policy: CommPolicy, record: StepRecord, memory: Tensor, alive: Tensor | None) -> list[_Sample]:
    """The exchanges of one step; the states before them are computed again from what was delivered."""
    decision, rows = record.decision, record.running.nonzero().squeeze(1)
    state, memory = perceive(policy, record.observation, memory, alive)
    every = torch.ones((), dtype=torch.bool, device=state.device).expand_as(decision.logits)
    allowed = every if decision.allowed is None else decision.allowed
    out = []
    for number, inbox in enumerate(decision.inboxes):
        parts = {
            "payload": inbox.payload().masked_fill(~inbox.mask.unsqueeze(-1), 0.0)[rows],
            "mask": inbox.mask[rows],
            "source": inbox.source[rows],
            "spoken": inbox.spoken[rows],
            "age": (torch.zeros_like(inbox.source) if inbox.age is None else inbox.age)[rows],
        }
        where = (record.at[rows], parts, state[rows], memory[rows], decision.asked[rows], allowed[rows])
        out.append(_Sample(number, rows, *where))
        if number + 1 < len(decision.inboxes):
            state = policy.hear(state, inbox, number)
    return out


def _joined(policy: CommPolicy, taken: list[_Sample], generator: torch.Generator, world: World) -> Examples:
    """All samples in one, ordered by round, so that each round's logits are predicted at once."""
    taken = sorted(taken, key=lambda sample: sample.round)
    if not taken:
        return _nothing(policy, generator, world)
    box = {name: torch.cat([sample.inbox[name] for sample in taken]) for name in taken[0].inbox}
    state, memory, asked, allowed = (torch.cat([getattr(s, name) for s in taken]) for name in PREDICTED_FROM)
    sizes = [len(sample.episode) for sample in taken]
    rounds = torch.tensor([sample.round for sample in taken]).repeat_interleave(torch.tensor(sizes)).to(world.device)

    def predict(rows: Tensor, payload: Tensor) -> Tensor:
        found, places = [], []
        for number in range(policy.rounds):
            place = (rounds[rows] == number).nonzero().squeeze(1)
            at = rows[place]
            if not len(at):
                continue
            spoken, source = box["spoken"][at], box["source"][at]
            links = Links(source, spoken.new_ones(spoken.shape[:2], dtype=torch.bool), asked[at])
            delta = payload[place] - gather_agents(spoken, source)
            inbox = Inbox(spoken, source, box["mask"][at], source, delta=delta, age=box["age"][at])
            found.append(predict_logits(policy, state[at], memory[at], links, allowed[at], number, inbox))
            places.append(place)
        return torch.cat(found)[torch.cat(places).argsort()]

    return Examples(
        payload=box["payload"],
        present=box["mask"],
        sender=box["source"],
        own=box["spoken"],
        step=torch.cat([sample.step for sample in taken]),
        round=rounds,
        episode=torch.cat([sample.episode for sample in taken]),
        generator=generator,
        index=torch.arange(len(rounds), device=world.device),
        predict=None if policy.autoregressive else predict,
    )


def _nothing(policy: CommPolicy, generator: torch.Generator, world: World) -> Examples:
    """The messages of a team that sends none."""
    agents, degree, device = world.num_agents, policy.topology.degree, world.device
    payload = torch.zeros(0, agents, degree, policy.width, device=device)
    none = torch.zeros(0, agents, degree, dtype=torch.int64, device=device)
    zero = torch.zeros(0, dtype=torch.int64, device=device)
    return Examples(payload, none.bool(), none, payload.sum(2), zero, zero, zero, generator, zero)
