"""Calls to the hooks of a policy: errors in them name the policy, and what they return is checked."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import torch
from torch import Tensor

from agentcomm.base.answers import check_answer, check_tensor
from agentcomm.base.calling import calling
from agentcomm.base.errors import HookError
from agentcomm.contracts.policy import CommPolicy
from agentcomm.contracts.topology import Graph, Topology


def ask(policy: CommPolicy, hook: Callable[..., Any], shape: tuple[int | None, ...], *arguments: Any) -> Tensor:
    """Call a hook of a policy.

    Args:
        policy: The policy.
        hook: Its method.
        shape: Shape of the floating-point tensor that it must return; None for any size.
        *arguments: Arguments of the hook.

    Raises:
        HookError: If the hook raises an error, or does not return such a tensor.
    """
    what = f"policy {policy.name!r}"
    with calling(what, hook.__name__):
        answer = hook(*arguments)
    check_tensor(what, hook.__name__, answer, shape, optional=False)
    return answer  # type: ignore[no-any-return]  # checked


def ask_graph(topology: Topology, draw: Tensor | None, worlds: int, agents: int, hidden: Tensor | None = None) -> Graph:
    """Let a topology make graphs.

    Args:
        topology: The topology.
        draw: [B] draws; None for the executed graph.
        worlds: B.
        agents: N.
        hidden: [B, N, H], for topologies that depend on it.

    Raises:
        HookError: If it raises an error, or returns no graphs of the team.
    """
    what, shape = f"topology {topology.name!r}", (worlds, agents, topology.degree)
    with calling(what, "graph"):
        graph = topology.graph(draw, worlds, hidden)
    check_answer(what, "graph must return", graph, Graph)
    check_tensor(what, "graph: source", graph.source, shape, torch.int64, optional=False)
    check_tensor(what, "graph: kept", graph.kept, shape, torch.bool)
    if hidden is None and graph.source.numel():  # one of every step is not worth a copy to the host
        low, high = (int(end) for end in torch.aminmax(graph.source))
        if low < 0 or high >= agents:
            raise HookError(f"{what}: graph: source must lie in 0 .. {agents - 1}, but goes from {low} to {high}")
    return graph
