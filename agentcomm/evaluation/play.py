"""Runs one episode per world, up to a fixed horizon.

Every world runs its episode to the end, so that means are unbiased: stopping after a number of finished episodes would
exclude long ones.
"""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import torch
from torch import Tensor

from agentcomm.base.seeds import derive
from agentcomm.contracts.outcome import Episodes, Facts
from agentcomm.contracts.policy import CommPolicy
from agentcomm.contracts.world import World
from agentcomm.directory.world import DirectoryWorld
from agentcomm.evaluation.monitor import Monitor
from agentcomm.network.ledger import COUNTS
from agentcomm.network.network import Network
from agentcomm.network.record import ExchangeRecord, Fate
from agentcomm.step.comms import Comms
from agentcomm.step.gates import GateControl
from agentcomm.step.interpreter import Interpreter
from agentcomm.step.loop import StepRecord, TeamLoop


@torch.no_grad()
def play(
    world: World,
    policy: CommPolicy,
    comms: Comms,
    seed: int,
    record: int = 0,
    generator: torch.Generator | None = None,
    gates: float | None = None,
    watch: Callable[[list[ExchangeRecord]], None] | None = None,
    follow: Callable[[StepRecord], None] | None = None,
    obedience: float = 0.0,
    progress: Callable[[int, Tensor], None] | None = None,
) -> Episodes:
    """One episode in every world, on the executed graph.

    Args:
        world: B worlds; reset with ``seed``, so equal seeds share their episodes.
        policy: The policy.
        comms: The team's message layer, and its adversary.
        seed: Seed of the episodes.
        record: Number of worlds to record frame by frame.
        generator: Samples decisions; None decides greedily.
        gates: Probability that a gate is open, in place of the policy's gates; None for the policy's gates.
        watch: Called after each step with the records of its exchanges.
        follow: Called after each step with its record, including facts.
        obedience: Probability that members obey a directive (:mod:`agentcomm.step.interpreter`).
        progress: Called after each step with the number of steps so far, and which worlds are still running ([B] bool).
    """
    was_training = policy.training
    policy.eval()
    loop = TeamLoop(
        world,
        policy,
        comms,
        generator,
        None if gates is None else GateControl(gates, _generator(world, seed, "gates")),
        _interpreter(world, policy, obedience, seed) if obedience else None,
        trace=bool(record or watch or follow),
        collect_facts=bool(record) or follow is not None,
    )
    loop.reset(seed)
    comms.network.ledger.clear()
    tally, frames = Tally(world, comms.network), Frames(world, record)
    comms.network.stages.append(tally.monitor)
    try:
        for number in range(world.max_steps):
            frames.look(loop.observation)
            tally.monitor.running = loop.running
            step = loop.step()
            if watch is not None:
                watch(step.exchanges)
            if follow is not None:
                follow(step)
            frames.add(step)
            loop.finish(step)  # the ledger counts messages in transit as late
            tally.add(step)
            if progress is not None:
                progress(number + 1, loop.running)
            if not bool(loop.running.any()):
                break
    finally:
        comms.network.stages.remove(tally.monitor)
        policy.train(was_training)
    return tally.episodes(frames.by_world)


def _generator(world: World, seed: int, purpose: str) -> torch.Generator:
    return torch.Generator(world.device).manual_seed(derive(seed, purpose))


def _interpreter(world: World, policy: CommPolicy, obedience: float, seed: int) -> Interpreter:
    draws = _generator(world, seed, "obedience")
    return Interpreter(obedience, policy.actions, policy.width, draws)


class Tally:
    """Counts what happens in one episode per world.

    Args:
        world: B worlds.
        network: The network, whose ledger counts the messages of each episode.
    """

    def __init__(self, world: World, network: Network) -> None:
        self.world, self.ledger, self.monitor = world, network.ledger, Monitor(network)
        self.directory = world.directory if isinstance(world, DirectoryWorld) else None
        # Values of each world at the end of its episode, by name.
        self.at_end: dict[str, Tensor] = {}
        self.refused_by: dict[str, Tensor] = {}
        self.counts: Tensor | None = None  # [B, counters of the directory] at the end of each episode
        self.total = torch.zeros(world.num_worlds, device=world.device)
        self.actions = world.length.new_zeros(world.num_worlds, world.actions.options)
        self.action_by_step: list[Tensor] = []
        self.gate_by_step: list[float | None] = []
        self.opened = self.asked = 0
        self.numbers = network.payload_numbers

    def add(self, record: StepRecord) -> None:
        """Count one step, after messages in transit in ended episodes have been counted as late."""
        decision, alive = record.decision, record.alive
        acting = record.running.unsqueeze(1).expand_as(decision.gate)
        acting = acting if alive is None else acting & alive
        action = decision.action
        self.actions.scatter_add_(1, self.world.actions.option_of(action), acting.long())
        self.action_by_step.append(action if action.is_floating_point() else action.short())
        gate = decision.gate[acting]
        self.opened, self.asked = self.opened + int(gate.sum()), self.asked + gate.numel()
        self.gate_by_step.append(float(gate.float().mean()) if gate.numel() else None)
        self.total += record.mean_reward * record.running
        self._close(record)

    def _close(self, record: StepRecord) -> None:
        """Store the final values of episodes that end."""
        ended, step, ledger = record.ended, record.step, self.ledger
        final = {
            "length": step.length,
            "success": step.success,
            "success_known": step.success_known,
            "harm": self.world.harm,
            "messages": ledger.messages,
            "bytes": ledger.bytes,
            "late_steps": ledger.steps,
            "late_seconds": ledger.seconds,
        }
        for name, value in final.items():
            self.at_end[name] = torch.where(ended, value, self.at_end.get(name, torch.zeros_like(value)))
        for name, value in ledger.refused_by.items():
            self.refused_by[name] = torch.where(ended, value, self.refused_by.get(name, torch.zeros_like(value)))
        if self.directory is not None:
            counts = self.directory.state["counts"]
            self.counts = torch.where(ended.unsqueeze(1), counts, counts * 0 if self.counts is None else self.counts)

    def episodes(self, frames: list[list[dict[str, Any]]]) -> Episodes:
        """The outcome of the episodes.

        Args:
            frames: Frames of each recorded world.
        """
        end, monitor = self.at_end, self.monitor
        return Episodes(
            length=end["length"],
            success=end["success"],
            success_known=bool(end["success_known"].all()),
            total_reward=self.total,
            harm=end["harm"],
            actions=self.actions,
            messages=dict(zip(COUNTS, end["messages"], strict=True)),
            bytes=end["bytes"],
            late_by=(end["late_steps"], end["late_seconds"]),
            refused_by=self.refused_by,
            gate_by_step=self.gate_by_step + [None] * (self.world.max_steps - len(self.gate_by_step)),
            gate_open=self.opened / max(self.asked, 1),
            facts=None if self.counts is None else Facts.of(self.counts),
            action_by_step=torch.stack(self.action_by_step),
            links=monitor.links(),
            contact=monitor.contact(),
            scored=monitor.scored(),
            isolations=monitor.isolations,
            false_isolations=monitor.false_isolations,
            numbers=self.numbers,
            frames=frames,
        )


class Frames:
    """Records the first few worlds frame by frame, for the report's player.

    Args:
        world: B worlds.
        count: Number of worlds to record.
    """

    def __init__(self, world: World, count: int) -> None:
        self.world = world
        self.by_world: list[list[dict[str, Any]]] = [[] for _ in range(count)]
        self._scenes: list[dict[str, Any]] = []
        self._before: Tensor | None = None

    def look(self, observation: Tensor) -> None:
        """Capture the scenes before a step, and the observations [B, N, O] before attacks change them."""
        self._scenes = [self.world.scene(w) for w in range(len(self.by_world))]
        self._before = observation[: len(self.by_world)].clone()

    def add(self, record: StepRecord) -> None:
        """Record one step of the running worlds; after the last step, also the final scene."""
        for w, frames in enumerate(self.by_world):
            if not bool(record.running[w]):
                continue
            frames.append(self._frame(record, w))
            if bool(record.step.done[w]):
                frames.append(self.world.scene(w) | {"actions": None, "gates": None, "messages": [], "reward": None})

    def _frame(self, record: StepRecord, w: int) -> dict[str, Any]:
        return self._scenes[w] | {
            "actions": self.world.actions.described(record.decision.action[w]),
            "gates": record.decision.gate[w].tolist(),
            "messages": [m for exchange in record.exchanges for m in _messages(exchange, w, int(record.at[w]))],
            "reward": [round(r, 4) for r in record.step.reward[w].tolist()],
            "observations": [_compact(seen) for seen in record.observation[w].tolist()],
            "altered": self._altered(record, w),
            "facts": {name: values[w].tolist() for name, values in record.facts.items()},
        }

    def _altered(self, record: StepRecord, w: int) -> list[bool]:
        """For each agent, whether an attack changed what it observed."""
        assert self._before is not None
        return [bool(changed) for changed in (record.observation[w] != self._before[w]).any(-1)]


def _compact(observation: list[float]) -> list[float | int]:
    """An observation with two decimals; whole numbers and indices as integers."""
    rounded = [round(value, 2) for value in observation]
    return [int(value) if value == int(value) else value for value in rounded]


def _messages(exchange: ExchangeRecord, w: int, at: int) -> list[dict[str, Any]]:
    """The messages of one exchange in one world in step ``at``, as plain values."""
    fields, fate = exchange.fields, exchange.fields["fate"][w]
    return [
        {
            "sender": int(fields["sender"][w, receiver, slot]),
            "receiver": int(receiver),
            "round": exchange.round,
            "fate": str(Fate(fate[receiver, slot])),
            "accepted": bool(fields["accepted"][w, receiver, slot]),
            "refused_by": next((by for by, where in exchange.refused.items() if where[w, receiver, slot]), None),
            "age": at - int(fields["sent_at"][w, receiver, slot]),
        }
        for receiver, slot in zip(*fate.nonzero(), strict=True)
    ]
