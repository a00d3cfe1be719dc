"""Registered topologies keep their contract, those of other packages are at home, and broken ones are noticed."""

from __future__ import annotations

import pytest
import torch
from builders import team
from oracles import CREW
from torch import Tensor

from agentcomm.base import registry
from agentcomm.base.errors import ConfigError
from agentcomm.conformance import check_topology
from agentcomm.contracts.topology import Graph, LearnedTopology, Topology, TopologyChoice, TopologyConfig
from policies.graphs.fixed import NoLinks
from policies.graphs.learned import LearnedGraph


@pytest.mark.parametrize("form", registry.forms("topology"))
def test_registered_topologies_conform(form: str) -> None:
    name, arguments = registry.forms("topology")[form]
    check_topology(registry.find("topology", name), arguments)


class Star(Topology):
    """Everybody listens to the first agent, which listens to nobody."""

    def __init__(self, config: TopologyConfig, num_agents: int) -> None:
        super().__init__(config)
        self.agents, self.degree = num_agents, min(num_agents - 1, 1)

    @classmethod
    def for_team(cls, config: TopologyConfig, num_agents: int, width: int) -> Topology:
        return cls(config, num_agents)

    def graph(self, draw: Tensor | None, num_worlds: int, hidden: Tensor | None = None) -> Graph:
        source = torch.zeros(num_worlds, self.agents, self.degree, dtype=torch.int64)
        source[:, 0] = 1
        return Graph(source, torch.arange(self.agents).view(1, -1, 1).expand(source.shape) > 0)

    def resize(self, identity: Tensor) -> None:
        self.agents, self.degree = len(identity), min(len(identity) - 1, 1)


def test_a_policy_takes_a_topology_that_it_does_not_know(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(registry, "_registered", {})
    registry.register("topology", "star")(Star)
    for name in ("commformer", "commnet", "ic3net", "tarmac", "magic", "talking"):
        config = registry.build_config("policy", name, {"topology": {"name": "star"}})
        world = team(2, world=CREW)[0]
        policy = registry.find("policy", name).for_world(config, world)
        assert isinstance(policy.topology, Star)
    with pytest.raises(ConfigError, match=r"topology\.degree: unknown key"):
        registry.build_config("policy", "commnet", {"topology": {"name": "star", "degree": 2}})


def test_one_agent_alone_has_nothing_to_learn() -> None:
    for name in ("learned", "embedded", "dynamic", "individual"):
        assert isinstance(TopologyChoice(name=name).build(1, 8), NoLinks)


class Selfish(Star):
    def graph(self, draw: Tensor | None, num_worlds: int, hidden: Tensor | None = None) -> Graph:
        return Graph(torch.zeros(num_worlds, self.agents, self.degree, dtype=torch.int64))


class Moody(Star):
    def graph(self, draw: Tensor | None, num_worlds: int, hidden: Tensor | None = None) -> Graph:
        source = super().graph(draw, num_worlds).source
        return Graph(source, torch.rand(source.shape) < 0.5)


class Gossip(Star):
    dynamic = True

    def draw(self, num_worlds: int, generator: torch.Generator) -> Tensor:
        return torch.randint(99, (num_worlds,), generator=generator)

    def weight(self, source: Tensor, draw: Tensor, hidden: Tensor | None = None) -> Tensor:
        return torch.ones(source.shape)

    def graph(self, draw: Tensor | None, num_worlds: int, hidden: Tensor | None = None) -> Graph:
        source = super().graph(draw, num_worlds).source
        return Graph(source, torch.full(source.shape, num_worlds > 3))


class Loaded(Gossip):
    def draw(self, num_worlds: int, generator: torch.Generator) -> Tensor:
        return torch.randint(99, (num_worlds,))


class Stuck(Star):
    def resize(self, identity: Tensor) -> None:
        pass


class Unweighted(LearnedGraph):
    def weight(self, source: Tensor, draw: Tensor, hidden: Tensor | None = None) -> Tensor:
        return super().weight(source, draw).detach()  # type: ignore[union-attr]


class Impossible(LearnedGraph):
    def log_probability(self, source: Tensor, draw: Tensor) -> Tensor:
        return -super().log_probability(source, draw)


class Undecided(LearnedGraph):
    def draw(self, num_worlds: int, generator: torch.Generator) -> Tensor:
        self.exact.zero_()
        draw = super().draw(num_worlds, generator)
        self.anneal(1.0)
        return draw


class Untrained(Star):
    learned = True


def test_the_smallest_topology_conforms() -> None:
    check_topology(Star)


@pytest.mark.parametrize(
    ("broken", "message"),
    [
        (Selfish, "its own neighbor"),
        (Moody, "global generator"),
        (Gossip, "the other worlds of its batch"),
        (Loaded, "draws do not come from the given generator"),
        (Stuck, "graph has senders of shape"),
        (Unweighted, "no gradient flows through weight"),
        (Impossible, "log_probability returns invalid values"),
        (Undecided, "exact is set before"),
        (Untrained, "derive from LearnedTopology"),
    ],
)
def test_broken_topologies_are_noticed(broken: type[Topology], message: str) -> None:
    with pytest.raises(AssertionError, match=message):
        check_topology(broken)


def test_learned_topologies_are_those_that_say_so() -> None:
    for name in registry.names("topology"):
        plugin = registry.find("topology", name)
        assert plugin.learned == issubclass(plugin, LearnedTopology)
