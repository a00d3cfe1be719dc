"""Rollouts: a policy acts in B worlds, and everything an update needs is recorded. Plain torch, no Ray."""

from __future__ import annotations

from dataclasses import dataclass, field
from typing import Any

import numpy as np
import torch
from torch import Tensor

from agentcomm.deciding import Decision, decide
from agentcomm.messages.ledger import COUNTS
from agentcomm.messages.network import Network
from agentcomm.messages.traffic import Inbox
from agentcomm.policy import CommPolicy, Graph
from agentcomm.seeds import derive
from agentcomm.step.comms import Comms
from agentcomm.training.ppo import Rows, advantages
from agentcomm.training.settings import PPOSettings
from agentcomm.world import World


@dataclass
class Fragment:
    """T steps of B worlds.

    Attributes:
        columns: Named tensors [T * B, ...]; see :func:`agentcomm.replaying.evaluate` and ``ppo_loss``.
        env_steps: T * B.
        agents: N.
        episodes: How many episodes ended.
        recent: Mean ``length``, ``success`` and ``return`` (summed reward, mean over agents, without the
            gate's cost) of every world's last episode; empty until each world has ended one. Episodes that
            happen to end in a fragment would not do: worlds start together, so it is at times only the short ones.
        gate_open: Share of open gates.
        graph_agreement: Share of sampled rows of the graph that equal the executed ones; None where nothing is learned.
        messages: Counts of the ledger over this fragment, summed over worlds.
    """

    columns: Rows
    env_steps: int
    agents: int
    episodes: int
    recent: dict[str, float]
    gate_open: float
    graph_agreement: float | None = None
    messages: dict[str, int] = field(default_factory=dict)


class Sampler:
    """Collects fragments; worlds, episodes and graphs go on from one fragment to the next.

    Args:
        world: B worlds.
        policy: Its parameters may change between fragments.
        comms: The team's message layer, and its adversary.
        settings: Discounts and the share of held-out worlds.
        seed: Seeds worlds and the policy's sampling.
    """

    def __init__(self, world: World, policy: CommPolicy, comms: Comms, settings: PPOSettings, seed: int) -> None:
        self.world, self.policy, self.comms, self.settings = world, policy, comms, settings
        self.generator = torch.Generator(world.device)
        self.generator.manual_seed(derive(seed, "policy"))
        self.observation = world.reset(derive(seed, "world"))
        self._return = torch.zeros(world.num_worlds, device=world.device)
        # Length, success and return of each world's last episode; -1 before its first has ended.
        self._last = torch.full((3, world.num_worlds), -1.0, device=world.device)
        held = int(world.num_worlds * settings.held_out) if policy.topology.needs_held_out else 0
        if policy.topology.needs_held_out and settings.held_out and not held:
            raise ValueError(f"{world.num_worlds} worlds are too few to hold out {settings.held_out:.3g} of them")
        # Indices are recorded in as few bytes as the vocabulary allows.
        self._index_dtype = torch.int16 if world.layout.vocabulary < 2**15 else torch.int32
        self._held = torch.arange(world.num_worlds, device=world.device) < held

    @torch.no_grad()
    def collect(self, steps: int) -> Fragment:
        """T further steps of all worlds, with one graph per world or, where it is dynamic, per step."""
        world, policy = self.world, self.policy
        graph, draw, agreement = self._graph()
        # Straight-through gates pay in the loss instead.
        gated = policy.gate is not None and not policy.gate.straight_through
        listening_cost = policy.listening_cost() if gated else 0.0
        before = self.network.ledger.messages.clone()
        record: dict[str, list[Tensor]] = {}
        decisions: list[Decision] = []
        episodes = 0
        cut_at: list[Tensor] = []  # places in the flattened [T * B] steps where an episode was truncated,
        cut_off: list[tuple[Tensor, Tensor]] = []  # and what its agents observed last, and who was there
        for _ in range(steps):
            at, alive = world.length.clone(), self._alive
            observation = self.comms.adversary.on_observations(self.observation, world, at, policy)
            decision = decide(policy, observation, graph, self.comms, at, self.generator, alive)
            step = world.step(decision.action)
            reward = self.comms.adversary.on_rewards(step.reward, decision.action, at)
            cut = step.truncated[step.finished]
            cut_at.append(step.finished[cut] + len(decisions) * world.num_worlds)
            cut_off.append((step.final_observation[cut], step.final_alive[cut]))
            self._return += step.reward.mean(1)
            if len(step.finished):
                self.comms.reset(step.finished)
                ended = step.length[step.finished], step.success[step.finished], self._return[step.finished]
                self._last[:, step.finished] = torch.stack([part.float() for part in ended])
                episodes += len(step.finished)
                self._return[step.finished] = 0
            decisions.append(decision)
            entries = {
                "observation": observation,
                "reward": reward - listening_cost * decision.gate,
                "active": step.active,
                "done": step.done,
            }
            if alive is not None:
                entries["alive"] = alive
            for name, value in entries.items():
                record.setdefault(name, []).append(value)
            self.observation = step.observation
        stacked = {name: torch.stack(values) for name, values in record.items()}
        stacked["bootstrap"] = torch.zeros_like(stacked["reward"])
        places = torch.cat(cut_at)
        if len(places):
            observed, there = (torch.cat(parts) for parts in zip(*cut_off, strict=True))
            lost = self._alive is not None
            stacked["bootstrap"].flatten(0, 1)[places] = self._value(observed, there if lost else None)
        columns = self._columns(stacked, decisions, draw)

        counts = (self.network.ledger.messages - before).sum(1)
        return Fragment(
            columns=columns,
            env_steps=steps * world.num_worlds,
            agents=world.num_agents,
            episodes=episodes,
            recent=self._recent(),
            gate_open=float(columns["gate"].float().mean()),
            graph_agreement=agreement,
            messages=dict(zip(COUNTS, counts.tolist(), strict=True)),
        )

    @property
    def network(self) -> Network:
        """What messages pass."""
        return self.comms.network

    @property
    def _alive(self) -> Tensor | None:
        """Members that are there now; None while none can be missing."""
        return self.world.alive.clone() if self.world.config.loses_members else None

    def _graph(self) -> tuple[Graph | None, Tensor, float | None]:
        """The fragment's graphs, the draws they were sampled with, and the share of rows as executed."""
        topology, worlds = self.policy.topology, self.world.num_worlds
        if topology.dynamic:
            return None, torch.zeros(0, dtype=torch.int64), None
        draw = topology.draw(worlds, self.generator)
        graph = topology.graph(draw if len(draw) else None, worlds)
        return graph, draw, float(topology.agreement(graph.source)) if topology.learned else None

    def _columns(self, s: Rows, decisions: list[Decision], draw: Tensor) -> Rows:
        value = torch.stack([d.value for d in decisions])
        last = self._value(self.observation, self._alive)
        advantage = advantages(
            s["reward"], value, s["done"], s["bootstrap"], last, self.settings.gamma, self.settings.gae_lambda
        )
        observation = s["observation"]
        columns = {
            "observation": observation if observation.is_floating_point() else observation.to(self._index_dtype),
            "action": torch.stack([d.action for d in decisions]).to(torch.int16),
            "gate": torch.stack([d.gate for d in decisions]),
            "log_probability": torch.stack([d.log_probability for d in decisions]),
            "gate_log_probability": torch.stack([d.gate_log_probability for d in decisions]),
            "advantage": advantage,
            "target": advantage + value,
            "active": s["active"],
            "links": torch.stack([d.links.to(torch.int16) for d in decisions]),
            "held_out": self._held.expand(len(decisions), -1),
        }
        if "alive" in s:
            columns["alive"] = s["alive"]
        if len(draw):
            columns["draw"] = draw.expand(len(decisions), -1)
        elif self.policy.topology.dynamic:
            columns["draw"] = torch.stack([d.draw for d in decisions])
        if decisions[0].gate_noise is not None:
            columns["gate_noise"] = torch.stack([d.gate_noise for d in decisions if d.gate_noise is not None])
        if self.policy.voice is not None:
            columns["voice_draw"] = torch.stack([d.voice_draw for d in decisions])
        columns |= record_inboxes([d.inboxes for d in decisions], columns["links"])
        return {name: column.flatten(0, 1) for name, column in columns.items()}

    def _recent(self) -> dict[str, float]:
        if bool((self._last[0] < 0).any()):
            return {}
        return dict(zip(("length", "success", "return"), self._last.mean(1).tolist(), strict=True))

    def _value(self, observation: Tensor, alive: Tensor | None) -> Tensor:
        """Expected return where a fragment or an episode is cut; 0 for members that are gone."""
        hidden = self.policy.encode(observation)
        if alive is None:
            return self.policy.expected_return(self.policy.value(hidden))
        return self.policy.expected_return(self.policy.value(hidden * alive.unsqueeze(-1))) * alive

    def get_state(self) -> dict[str, Any]:
        """Everything needed to go on as if never interrupted, as numpy arrays."""
        return {
            "world": self.world.get_state(),
            "comms": self.comms.snapshot(),
            "generator": self.generator.get_state().numpy().copy(),
            "observation": self.observation.cpu().numpy().copy(),
            "return": self._return.cpu().numpy().copy(),
            "last": self._last.cpu().numpy().copy(),
        }

    def set_state(self, saved: dict[str, Any]) -> None:
        """Go on from :meth:`get_state`."""
        self.world.set_state(saved["world"])
        self.comms.restore(saved["comms"])
        self.generator.set_state(torch.as_tensor(np.array(saved["generator"])))
        self.observation = torch.as_tensor(np.array(saved["observation"]), device=self.world.device)
        self._return = torch.as_tensor(np.array(saved["return"]), device=self.world.device)
        self._last = torch.as_tensor(np.array(saved["last"]), device=self.world.device)


def record_inboxes(inboxes: list[list[Inbox]], links: Tensor) -> Rows:
    """What was delivered in T steps of R rounds, as columns [T, B, R, ...]; only what was disturbed takes room.

    Args:
        inboxes: Per step and round.
        links: [T, B, N, k], for teams that have no rounds.
    """
    flat = [inbox for step in inboxes for inbox in step]
    if not flat:
        return {"mask": torch.zeros_like(links, dtype=torch.bool).unsqueeze(2)[:, :, :0]}
    slots = max(inbox.mask.shape[-1] for inbox in flat)
    disturbed = slots > flat[0].links.shape[-1] or any(i.scale is not None or i.delta is not None for i in flat)

    def column(pick: Any) -> Tensor:
        return torch.stack([torch.stack([pick(inbox) for inbox in step], 1) for step in inboxes])

    def slot(x: Tensor, value: float = 0) -> Tensor:
        return torch.nn.functional.pad(x, (0, slots - x.shape[-1]), value=value)

    columns = {"mask": column(lambda i: slot(i.mask))}
    if disturbed:
        columns["source"] = column(lambda i: slot(i.source).to(torch.int16))
    if any(i.scale is not None for i in flat):

        def factor(inbox: Inbox) -> Tensor:
            return torch.ones_like(inbox.mask, dtype=torch.float32) if inbox.scale is None else inbox.scale

        columns["scale"] = column(lambda i: slot(factor(i)))
    if any(i.delta is not None for i in flat):
        width = flat[0].spoken.shape[-1]

        def offset(inbox: Inbox) -> Tensor:
            if inbox.delta is None:
                return inbox.spoken.new_zeros(*inbox.mask.shape[:2], slots, width)
            return torch.nn.functional.pad(inbox.delta, (0, 0, 0, slots - inbox.mask.shape[-1]))

        columns["delta"] = column(offset)
    if any(i.coding is not None for i in flat):

        def coding(inbox: Inbox) -> Tensor:
            return torch.zeros_like(inbox.spoken) if inbox.coding is None else inbox.coding

        columns["coding"] = column(coding)
    return columns
