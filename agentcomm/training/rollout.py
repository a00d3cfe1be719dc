"""Rollouts: a policy acts in B worlds, and all data for an update is recorded. Plain torch, no Ray."""

from __future__ import annotations

import math
from collections.abc import Callable, Mapping
from contextlib import closing
from dataclasses import dataclass, field, replace
from typing import Any, ClassVar

import torch
from torch import Tensor

from agentcomm.base.errors import NumberError
from agentcomm.base.numbers import FIXES, all_finite
from agentcomm.base.seeds import derive
from agentcomm.base.state import State
from agentcomm.contracts.policy import CommPolicy
from agentcomm.contracts.topology import LearnedTopology
from agentcomm.contracts.world import World
from agentcomm.network.ledger import COUNTS
from agentcomm.runs.assembly import install_directory, make_comms, make_world
from agentcomm.runs.ppo_settings import PPOSettings
from agentcomm.runs.schedule import Setup
from agentcomm.step.comms import Comms
from agentcomm.step.decide import Decision
from agentcomm.step.loop import StepRecord, TeamLoop
from agentcomm.step.perceive import perceive
from agentcomm.training.ppo import Rows, advantages
from agentcomm.training.recording import record_inboxes


@dataclass
class Fragment:
    """T steps of B worlds.

    Attributes:
        columns: Named tensors [T * B, ...]; see :func:`agentcomm.step.replay.reevaluate` and ``ppo_loss``. With a
            memory, :class:`agentcomm.step.chunks.Chunks` makes sequences of them.
        env_steps: T * B.
        agents: N.
        episodes: How many episodes ended.
        ended: [4, E] world, length, success and return of each.
        recent: Mean ``length``, ``success`` and ``return`` (summed reward, mean over agents, without the
            gate's cost) of every world's last episode; empty until each world has finished one. Episodes that
            end within a fragment would be biased: worlds start together, so only short ones may have ended.
        gate_open: Share of open gates.
        graph_agreement: Share of sampled rows of the graph that equal the executed ones; None without a learned graph.
        messages: Counts of the ledger in this fragment, summed over worlds.
    """

    columns: Rows
    env_steps: int
    agents: int
    episodes: int
    ended: Tensor
    recent: dict[str, float]
    gate_open: float
    graph_agreement: float | None = None
    messages: dict[str, int] = field(default_factory=dict)


class Sampler(State):
    """Collects fragments; worlds, episodes and graphs carry over from one fragment to the next.

    Args:
        world: B worlds.
        policy: The policy; its parameters may change between fragments.
        comms: The team's message layer, and its adversary.
        settings: Discounts and the share of held-out worlds.
        seed: Seed of the worlds and of the policy's sampling.
        setup: What the team is trained in by share of training done, if a schedule changes it; ``world`` and
            ``comms`` are those at the start.

    Attributes:
        loop: The loop that takes the team's steps.
        progress: Share of training done (0 .. 1), as far as the schedule has been followed.
        returns: [B] reward summed over each running episode, mean over agents.
        last: [3, B] length, success and return of each world's last episode; -1 before the first has ended.
    """

    keeps: ClassVar[tuple[str, ...]] = ("loop", "returns", "last", "progress")

    def __init__(
        self,
        world: World,
        policy: CommPolicy,
        comms: Comms,
        settings: PPOSettings,
        seed: int,
        setup: Callable[[float], Setup] | None = None,
    ) -> None:
        self.settings, self.seed = settings, seed
        self.progress = 0.0
        self._setup_at = setup
        self._setup = None if setup is None else setup(0.0)
        generator = torch.Generator(world.device).manual_seed(derive(seed, "policy"))
        self.loop = TeamLoop(world, policy, comms, generator, learning=True)
        self.loop.reset(derive(seed, "world"))
        self.returns = torch.zeros(world.num_worlds, device=world.device)
        self.last = torch.full((3, world.num_worlds), -1.0, device=world.device)
        held = int(world.num_worlds * settings.held_out) if policy.topology.needs_held_out else 0
        if policy.topology.needs_held_out and settings.held_out and not held:
            raise ValueError(f"{world.num_worlds} worlds are too few to hold out {settings.held_out:.3g} of them")
        # Indices are recorded in the smallest type that holds the vocabulary.
        self._index_dtype = torch.int16 if world.layout.vocabulary < 2**15 else torch.int32
        self._held = torch.arange(world.num_worlds, device=world.device) < held

    @property
    def world(self) -> World:
        """The B worlds."""
        return self.loop.world

    @property
    def policy(self) -> CommPolicy:
        """The policy."""
        return self.loop.policy

    @property
    def comms(self) -> Comms:
        """The team's message layer, and its adversary."""
        return self.loop.comms

    def snapshot(self) -> dict[str, Any]:
        """The state, of a message layer that fits the graph."""
        self._follow_degree()
        return super().snapshot()

    def restore(self, saved: Mapping[str, Any]) -> None:
        """Restore the state, under what the schedule had reached."""
        self.follow_schedule(saved["progress"])
        super().restore(saved)

    def _follow_degree(self) -> None:
        """Start over with a message layer of another size if the degree of the graph has changed."""
        if self.comms.network.team_shape.degree == self.policy.topology.degree:
            return
        if self._setup is None:
            raise ValueError(f"topology {self.policy.topology.name!r} has changed its degree: a sampler needs a setup")
        parts = (self._setup.attacks, self._setup.defenses, self.seed, self._setup.transport)
        self.comms.close()
        self.loop.start_over(make_comms(self.world, self.policy, *parts))
        self.returns.zero_()

    def follow_schedule(self, progress: float) -> None:
        """Go on with what a team is trained in at a share of training done (0 .. 1); only between fragments."""
        self.progress = progress
        self._follow_degree()
        if self._setup_at is None or (now := self._setup_at(progress)) == (before := self._setup):
            return
        self._setup = now
        if before is None or now.environment != before.environment:
            with closing(self.world) as old:
                world = make_world(now.environment, old.num_worlds, old.device)
                install_directory(world, self.comms)
                self.returns[self.loop.move_to(world)] = 0
        if before is None or replace(now, environment=before.environment) != before:
            # The same attacks, defenses and channels with other arguments: what they remember stays.
            state = self.comms.snapshot()
            self.comms.close()
            parts = (now.attacks, now.defenses, self.seed, now.transport)
            self.loop.comms = make_comms(self.world, self.policy, *parts)
            self.loop.comms.restore(state)

    @torch.no_grad()
    def collect(self, steps: int) -> Fragment:
        """Collect T further steps of all worlds, with one graph per world or, if it is dynamic, per step."""
        self._follow_degree()
        loop = self.loop
        loop.draw_graph()
        before = self.comms.network.ledger.messages.clone()
        records: list[StepRecord] = []
        memory: list[Tensor] = []  # at the start of chunks
        ended: list[Tensor] = []
        for number in range(steps):
            if not number % self.settings.chunk:
                memory.append(loop.memory)
            record = loop.step()
            ended += self._count(record)
            loop.finish(record)
            records.append(record)
        columns = self._columns(records, memory)
        gates = columns["gate"][columns["alive"]] if "alive" in columns else columns["gate"]
        counts = (self.comms.network.ledger.messages - before).sum(1)
        return Fragment(
            columns=columns,
            env_steps=steps * self.world.num_worlds,
            agents=self.world.num_agents,
            episodes=sum(part.shape[1] for part in ended),
            ended=torch.cat(ended, 1) if ended else self.last.new_zeros(4, 0),
            recent=self._recent(),
            gate_open=float(gates.float().mean()),
            graph_agreement=self._agreement(),
            messages=dict(zip(COUNTS, counts.tolist(), strict=True)),
        )

    def _count(self, record: StepRecord) -> list[Tensor]:
        """Add a step to the statistics of episodes; returns [4, E] of those that ended, if any did."""
        self.returns += record.mean_reward
        step, ended = record.step, record.step.finished
        if not len(ended):
            return []
        success = step.success[ended].float().masked_fill(~step.success_known[ended], torch.nan)
        values = torch.stack([ended.float(), step.length[ended].float(), success, self.returns[ended]])
        self.last[:, ended] = values[1:]
        self.returns[ended] = 0
        return [values]

    def _agreement(self) -> float | None:
        """Share of rows of the fragment's graphs that equal the executed graph's; None without a learned graph."""
        topology, graph = self.policy.topology, self.loop.graph
        if graph is None or not isinstance(topology, LearnedTopology):
            return None
        return float(topology.agreement(graph.source))

    def _bootstrap(self, records: list[StepRecord], like: Tensor) -> Tensor:
        """[T, B, N] expected return after the steps at which episodes were truncated; 0 elsewhere."""
        bootstrap = torch.zeros_like(like)
        steps = [record.step for record in records]
        ended = torch.cat([s.finished + number * self.world.num_worlds for number, s in enumerate(steps)])
        cut = torch.cat([s.truncated[s.finished] for s in steps]).nonzero().squeeze(1)
        where = ended[cut]  # in the flattened [T * B]
        if len(where):
            observed = torch.cat([s.final_observation for s in steps])[cut]
            memory = torch.cat([r.decision.memory[r.step.finished] for r in records])[cut]
            there = torch.cat([s.final_alive for s in steps])[cut] if self.world.loses_members else None
            bootstrap.flatten(0, 1)[where] = self._value(observed, memory, there)
            self._check_value(bootstrap.flatten(0, 1)[where], "of the last observations of episodes")
        return bootstrap

    def _columns(self, records: list[StepRecord], memory: list[Tensor]) -> Rows:
        """The columns of T steps for an update, [T * B, ...] each; of a policy with a memory world by world.

        Args:
            records: The steps.
            memory: [B, N, S] at the start of each chunk.
        """
        decisions, steps = [r.decision for r in records], [r.step for r in records]
        # The loss charges straight-through gates instead.
        gated = self.policy.gate is not None and not self.policy.gate.straight_through
        listening_cost = self.policy.listening_cost() if gated else 0.0
        reward = torch.stack([r.reward - listening_cost * _open_gates(r) for r in records])
        value = torch.stack([d.value for d in decisions])
        gone = torch.stack([r.step.left if r.alive is None else r.step.left | ~r.alive for r in records])
        ends = torch.stack([step.done for step in steps]).unsqueeze(-1) | gone
        bootstrap = self._bootstrap(records, reward).masked_fill(gone, 0.0)
        last = self._value(self.loop.observation, self.loop.memory, self.loop.alive)
        self._check_value(last, "of the next observations")
        advantage = advantages(reward, value, ends, bootstrap, last, self.settings.gamma, self.settings.gae_lambda)
        observation = torch.stack([r.observation for r in records])
        action = torch.stack([d.action for d in decisions])
        columns = {
            "observation": observation if observation.is_floating_point() else observation.to(self._index_dtype),
            "action": action if action.is_floating_point() else action.to(torch.int16),
            "gate": torch.stack([d.gate for d in decisions]),
            "log_probability": torch.stack([d.log_probability for d in decisions]),
            "gate_log_probability": torch.stack([d.gate_log_probability for d in decisions]),
            "advantage": advantage,
            "target": advantage + value,
            "active": torch.stack([step.active for step in steps]),
            "links": torch.stack([d.links.to(torch.int16) for d in decisions]),
            "held_out": self._held.expand(len(decisions), -1),
        }
        alive = [r.alive for r in records if r.alive is not None]
        if alive:
            columns["alive"] = torch.stack(alive)
        columns |= self._draws(decisions)
        columns |= record_inboxes([d.inboxes for d in decisions], columns["links"], self.policy.reads_age)
        if not self.policy.memory_width:
            return {name: column.flatten(0, 1) for name, column in columns.items()}
        first = torch.stack([r.at for r in records]).unsqueeze(-1) == 0
        left = torch.stack([step.left for step in steps]).roll(1, 0)
        left[0] = False  # the recorded memory does without
        time = torch.arange(len(records), dtype=torch.int32, device=first.device).unsqueeze(1)
        columns |= {"memory": torch.stack(memory), "time": time.expand(first.shape[:2]), "first": first | left}
        return {name: column.transpose(0, 1).flatten(0, 1) for name, column in columns.items()}

    def _check_value(self, value: Tensor, field: str) -> None:
        if not all_finite([value]):
            raise NumberError(f"policy {self.policy.name!r}: the value {field} is not finite; {FIXES['policy']}")

    def _draws(self, decisions: list[Decision]) -> Rows:
        """[T, B, ...] seeds and noise of graphs, straight-through gates and message noise."""
        columns: Rows = {}
        if self.world.masks_actions:
            columns["allowed"] = torch.stack([d.allowed for d in decisions if d.allowed is not None])
        if len(self.loop.draw):
            columns["draw"] = self.loop.draw.expand(len(decisions), -1)
        elif self.policy.topology.relaxed:
            columns["draw"] = torch.stack([d.draw for d in decisions])
            columns["asked"] = torch.stack([d.asked for d in decisions])
        if decisions[0].gate_noise is not None:
            columns["gate_noise"] = torch.stack([d.gate_noise for d in decisions if d.gate_noise is not None])
        closed = [d.closed for d in decisions if d.closed is not None]
        if closed:
            columns |= {"asked": torch.stack([d.asked for d in decisions]), "closed": torch.stack(closed)}
        if self.policy.message_noise is not None:
            columns["noise_draw"] = torch.stack([d.noise_draw for d in decisions])
        return columns

    def _recent(self) -> dict[str, float]:
        if bool((self.last[0] < 0).any()):
            return {}
        found = dict(zip(("length", "success", "return"), self.last.mean(1).tolist(), strict=True))
        return {name: value for name, value in found.items() if not math.isnan(value)}  # of unknown success

    def _value(self, observation: Tensor, memory: Tensor, alive: Tensor | None) -> Tensor:
        """Expected return at the end of a fragment or of a truncated episode; 0 for members that have left."""
        hidden, _ = perceive(self.policy, observation, memory, alive)
        value = self.policy.expected_return(self.policy.value(hidden))
        return value if alive is None else value * alive


def _open_gates(record: StepRecord) -> Tensor:
    """[B, N] bool, open gates of present members."""
    return record.decision.gate if record.alive is None else record.decision.gate & record.alive
