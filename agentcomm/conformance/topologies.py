"""Conformance check of topologies."""

from __future__ import annotations

import copy
from itertools import product
from typing import Any

import torch
from torch import Tensor

from agentcomm.base.calling import answered
from agentcomm.base.errors import ConfigError
from agentcomm.conformance.common import checked_config, require
from agentcomm.contracts.topology import Graph, LearnedTopology, Topology, TopologyConfig

WORLDS, AGENTS, WIDTH = 6, 5, 8


def check_topology(plugin: type[Topology], arguments: dict[str, Any] | None = None) -> None:
    """Check the contract of :class:`agentcomm.contracts.topology.Topology` in teams of several sizes.

    Args:
        plugin: The topology.
        arguments: Its arguments.

    Raises:
        AssertionError: If the topology breaks the contract.
    """
    learns = isinstance(plugin, type) and issubclass(plugin, LearnedTopology)
    config: TopologyConfig = checked_config("topology", plugin, LearnedTopology if learns else Topology, arguments)
    require(plugin.learned == issubclass(plugin, LearnedTopology), "learned topologies derive from LearnedTopology")
    for agents in (1, 2, AGENTS):
        topology, same = (_built(plugin, config, agents) for _ in range(2))
        hidden = torch.randn(WORLDS, agents, WIDTH, generator=_generator(agents))
        ambient = torch.get_rng_state()
        check_graphs(topology, hidden)
        require(torch.equal(ambient, torch.get_rng_state()), "randomness is drawn from torch's global generator")
        first, again = topology.graph(None, WORLDS, hidden), same.graph(None, WORLDS, hidden)
        require(torch.equal(first.source, again.source), "equal seeds of a team's weights give different graphs")
        _check_worlds(topology, hidden)
        topology.resize(torch.arange(agents))
        check_graphs(topology, hidden)
    _check_sizes(topology)
    if isinstance(topology, LearnedTopology):
        _check_learning(topology)


def check_graphs(topology: Topology, hidden: Tensor) -> None:
    """Check that graphs are well formed, and that sampled ones are determined by their draws.

    Args:
        topology: Topology of a team of N.
        hidden: [B, N, H] state of its agents.

    Raises:
        AssertionError: If a graph is malformed.
    """
    b, n = hidden.shape[:2]
    draw, again = (topology.draw(b, _generator(0, hidden.device)) for _ in range(2))
    require(torch.equal(draw, again), "draws do not come from the given generator")
    sampled = topology.learned or topology.dynamic
    require(len(draw) == (b if sampled else 0), f"draw returns {len(draw)} draws for {b} worlds")
    receiver = torch.arange(n, device=hidden.device).view(1, -1, 1)
    steps = range(4) if topology.scheduled else range(1)
    for given, step in product((None, draw) if sampled else (None,), steps):
        graph = topology.graph(given, b, hidden)
        if topology.scheduled:
            graph = topology.at(graph, torch.arange(b, device=hidden.device) + step)
        source, kept = answered(graph, Graph, f"topology {topology.name!r}", "graph", "a Graph")
        shape = (b, n, topology.degree)
        require(source.shape == shape, f"graph has senders of shape {tuple(source.shape)}, not {shape}")
        require(source.dtype == torch.int64, f"graph has senders of type {source.dtype}, not torch.int64")
        require(((source >= 0) & (source < n)).all(), "graph names agents that do not exist")
        require((source != receiver).all(), "an agent is its own neighbor")
        several = kept is not None and kept.dim() == 4  # graphs, one per round
        fits = kept is None or (kept[:, 0] if several else kept).shape == shape
        require(fits, "kept must be None or have one entry per sender, or per round and sender")
        ordered = source.sort(-1).values
        require((ordered.diff(dim=-1) > 0).all(), "a receiver has the same neighbor twice")
    if topology.acts:
        for of_choice in topology.choice(source, hidden):
            require(
                of_choice.shape == (b, n) and bool(of_choice.isfinite().all()), "choice is not a number per receiver"
            )
    elif sampled:
        weight = topology.weight(source, draw, hidden)
        if weight is None or weight.shape != (source if kept is None else kept).shape:
            raise AssertionError("a sampled graph has no weight per edge")
        require(((weight >= 0) & (weight <= 1)).all(), "relaxed edges are not between 0 and 1")


def _built(plugin: type[Topology], config: TopologyConfig, agents: int) -> Topology:
    with torch.random.fork_rng(devices=[]):
        torch.manual_seed(0)
        return plugin.for_team(config, agents, WIDTH)


def _generator(seed: int, device: torch.device | None = None) -> torch.Generator:
    return torch.Generator("cpu" if device is None else device).manual_seed(seed)


def _check_worlds(topology: Topology, hidden: Tensor) -> None:
    """The graph of a world depends on its own draw and the state of its own agents only."""
    draw = topology.draw(WORLDS, _generator(1))
    given = draw if len(draw) else None
    whole = topology.graph(given, WORLDS, hidden)
    some = torch.arange(0, WORLDS, 2)
    part = topology.graph(None if given is None else given[some], len(some), hidden[some])
    for all_, few in zip(whole, part, strict=True):
        alone = few is None if all_ is None else few is not None and torch.equal(all_[some], few)
        require(alone, "a world's graph depends on the other worlds of its batch")


def _check_sizes(topology: Topology) -> None:
    """A topology can be resized to another team size, or raises a ConfigError."""
    for agents in (2, AGENTS - 1, AGENTS + 3):
        resized = copy.deepcopy(topology)
        try:
            resized.resize(torch.arange(agents) % AGENTS)
        except ConfigError:
            continue
        check_graphs(resized, torch.randn(WORLDS, agents, WIDTH, generator=_generator(agents)))


def _check_learning(topology: LearnedTopology) -> None:
    """Both gradient estimators reach parameters, and at the end of training the executed graph is used."""
    parameters = list(topology.parameters())
    require(bool(parameters), "a learned graph has no parameters")
    require(not topology.exact, "exact is set before training begins")
    draw = topology.draw(WORLDS, _generator(2))
    source = topology.graph(draw, len(draw)).source
    other = topology.draw(WORLDS, _generator(3))
    require(not torch.isin(draw, other).all(), "different generators give the same draws")
    logs = topology.log_probability(source, draw)
    require(logs.shape == source.shape[:2], f"log_probability returns {tuple(logs.shape)}, not {source.shape[:2]}")
    require(logs.isfinite().all() and (logs <= 1e-5).all(), "log_probability returns invalid values")
    weight = topology.weight(source, draw)
    if weight is None:
        raise AssertionError("a sampled graph has no weight per edge")
    varied = torch.arange(weight.numel(), dtype=weight.dtype).view(weight.shape).cos()
    for name, loss in (("log_probability", logs.sum()), ("weight", (weight * varied).sum())):
        require(loss.requires_grad, f"no gradient flows through {name}")
        gradients = torch.autograd.grad(loss, parameters, allow_unused=True)
        require(any(g is not None and bool(g.any()) for g in gradients), f"no gradient flows through {name}")
    entropy, executed = topology.row_entropy(), topology.graph(None, WORLDS).source
    require(entropy.shape == source.shape[1:2] and (entropy >= 0).all(), "row_entropy is not one entropy per receiver")
    require(bool(topology.agreement(executed) == 1), "the executed graph does not agree with itself")
    topology.anneal(1.0)
    if topology.exact:
        last = topology.graph(topology.draw(WORLDS, _generator(4)), WORLDS).source
        require(torch.equal(last, executed), "exact is set, but sampling does not return the executed graph")
