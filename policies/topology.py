"""Topologies: who may listen to whom. Any policy can use any of them; see :class:`agentcomm.policy.Topology`."""

from __future__ import annotations

from typing import Annotated

from pydantic import Field

from policies.dynamic_graph import DynamicConfig, DynamicGraph
from policies.fixed_graph import (
    ExponentialConfig,
    FixedGraph,
    FullConfig,
    NoLinksConfig,
    RandomConfig,
    RingConfig,
)
from policies.learned_graph import EmbeddedConfig, EmbeddedGraph, LearnedConfig, LearnedGraph

TopologyConfig = Annotated[
    NoLinksConfig
    | FullConfig
    | RingConfig
    | ExponentialConfig
    | RandomConfig
    | LearnedConfig
    | EmbeddedConfig
    | DynamicConfig,
    Field(discriminator="kind"),
]
AnyGraph = FixedGraph | LearnedGraph | DynamicGraph


def build_topology(config: TopologyConfig, num_agents: int, width: int) -> AnyGraph:
    """The topology of that kind for N agents whose hidden vectors have ``width`` entries."""
    if num_agents > 1:
        if isinstance(config, EmbeddedConfig):
            return EmbeddedGraph(config, num_agents)
        if isinstance(config, LearnedConfig):
            return LearnedGraph(config, num_agents)
        if isinstance(config, DynamicConfig):
            return DynamicGraph(config, num_agents, width)
    elif isinstance(config, LearnedConfig | DynamicConfig):
        config = NoLinksConfig()
    return FixedGraph(config, num_agents)
