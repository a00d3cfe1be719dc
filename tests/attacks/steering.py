"""A team of two whose message can be undone by turning it around: what attackers are tried on in seconds."""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path
from typing import Any

import pytest
import torch
from torch import Tensor, nn

from agentcomm.base import registry
from agentcomm.contracts.discrete import Discrete
from agentcomm.contracts.inbox import Inbox
from agentcomm.contracts.policy import CommPolicy, PolicyConfig
from agentcomm.contracts.topology import Graph, Topology, TopologyConfig
from agentcomm.contracts.world import Observation, Transition, World, WorldConfig
from agentcomm.runs import policy_file
from agentcomm.runs.assembly import make_policy, make_world
from agentcomm.runs.choices import Choice


class Murmur(World):
    """One agent sees a bit, the other must name it; a new bit in every step."""

    agents = ("sees", "acts")
    action_names = ("no", "yes")
    layout = Observation("dense", 2)
    name = "murmur"

    def __init__(self, config: WorldConfig, num_worlds: int = 1, device: str | torch.device = "cpu") -> None:
        super().__init__(config, num_worlds, device)
        self.state = {"bit": torch.zeros(num_worlds, dtype=torch.int64), "right": torch.zeros(num_worlds)}

    def begin(self, worlds: Tensor, generator: torch.Generator, scene: Mapping[str, Any] | None = None) -> None:
        self.state["bit"][worlds] = torch.randint(2, (len(worlds),), generator=generator)
        self.state["right"][worlds] = 0.0

    def advance(self, actions: Tensor, generator: torch.Generator) -> Transition:
        right = (actions[:, 1] == self.state["bit"]).float()
        self.state["right"] = self.state["right"] + right
        self.state["bit"] = torch.randint(2, right.shape, generator=generator)
        reward = right.unsqueeze(1).expand(-1, 2).contiguous()
        return Transition(reward, torch.zeros_like(right, dtype=torch.bool), torch.ones_like(reward, dtype=torch.bool))

    def observe(self, worlds: Tensor | None = None) -> Tensor:
        bit = self.state["bit"] if worlds is None else self.state["bit"][worlds]
        seen = torch.zeros(len(bit), 2, 2)
        seen[:, 0] = nn.functional.one_hot(bit, 2).float()
        return seen

    def success(self) -> Tensor:
        return self.state["right"] >= self.length


class Next(Topology):
    """Everybody hears the other one."""

    degree = 1

    def graph(self, draw: Tensor | None, num_worlds: int, hidden: Tensor | None = None) -> Graph:
        return Graph(torch.tensor([1, 0]).view(1, 2, 1).expand(num_worlds, -1, -1))


class Telling(CommPolicy):
    """Says +1 or -1 in all places, and does what it hears."""

    name, rounds, width, gate, topology = "telling", 1, 4, None, Next(TopologyConfig())
    tells = False

    def __init__(self, config: PolicyConfig) -> None:
        super().__init__(config)
        self.num_agents, self.actions = 2, Discrete(("plus", "minus"))
        self.scale = nn.Parameter(torch.ones(1))

    @classmethod
    def for_world(cls, config: PolicyConfig, world: World) -> Telling:
        return cls(config)

    @classmethod
    def without_messages(cls, config: PolicyConfig) -> PolicyConfig:
        return config

    def encode(self, observation: Tensor) -> Tensor:
        return self.scale * (observation[..., 1:] - observation[..., :1]).expand(-1, -1, 4)

    def speak(self, hidden: Tensor, round_: int) -> Tensor:
        return hidden

    def hear(self, hidden: Tensor, inbox: Inbox, round_: int) -> Tensor:
        return hidden + inbox.payload().masked_fill(~inbox.mask.unsqueeze(-1), 0.0).sum(2)

    def act(self, hidden: Tensor) -> Tensor:
        return torch.stack([-hidden.sum(-1), hidden.sum(-1)], -1)

    def value(self, hidden: Tensor) -> Tensor:
        return hidden.sum(-1)


def register(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(registry, "_registered", dict(registry._registered))
    registry.register("environment", "murmur")(Murmur)
    registry.register("policy", "telling")(Telling)


def choice(name: str, **arguments: Any) -> Choice:
    return Choice.model_validate({"name": name} | arguments)


def save(folder: Path, environment: Choice, policy: Choice, seed: int = 0) -> str:
    """The file of a policy as it is before training."""
    made = make_policy(policy, make_world(environment, 1), "team", seed)
    policy_file.save(folder, made, environment, policy, "team", seed, {})
    return str(folder)


def murmuring(folder: Path) -> str:
    return save(folder, choice("murmur", max_steps=8), choice("telling"))


def small_team(folder: Path, size: int = 4, **policy: Any) -> str:
    """A team as the other tests have it: three agents, two rounds."""
    environment = choice("predator_capture_prey", size=size, max_steps=7)
    return save(folder, environment, choice("commformer", width=16, **policy))
