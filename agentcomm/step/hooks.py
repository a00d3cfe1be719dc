"""Calls to the hooks of a policy: errors in them name the policy, and what they return is checked."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import torch
from torch import Tensor

from agentcomm.base.answers import check_tensor
from agentcomm.base.calling import answered, calling
from agentcomm.base.errors import HookError
from agentcomm.contracts.policy import CommPolicy
from agentcomm.contracts.topology import Graph, Topology

RETURNS = {
    "encode": "hidden vectors [B, N, H]",
    "speak": "payloads [B, N, D]",
    "tell": "payloads [B, N, D]",
    "hear": "hidden vectors [B, N, H]",
    "act": "action parameters [B, N, P]",
    "value": "values [B, N]",
    "recall": "a pair of hidden vectors [B, N, H] and memory [B, N, S]",
    "retain": "a pair of hidden vectors [B, N, H] and memory [B, N, S]",
}


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
        answer = answered(hook(*arguments), Tensor, what, hook.__name__, RETURNS[hook.__name__])
    check_tensor(what, f"what {hook.__name__} returns", answer, shape)
    return answer


def ask_memory(policy: CommPolicy, hook: Callable[..., Any], vectors: Tensor, memory: Tensor) -> tuple[Tensor, Tensor]:
    """Call ``recall`` or ``retain`` of a policy.

    Args:
        policy: The policy.
        hook: Its method.
        vectors: [B, N, H] encoded observations or states.
        memory: [B, N, S].

    Returns:
        Vectors and memory, of the same shapes.

    Raises:
        HookError: If the hook raises an error, or does not return such a pair.
    """
    what, name = f"policy {policy.name!r}", hook.__name__
    with calling(what, name):
        answer = answered(hook(vectors, memory), tuple, what, name, RETURNS[name])
    if len(answer) != 2:
        raise HookError(f"{what}: {name} must return {RETURNS[name]}, but returned {len(answer)} values")
    check_tensor(what, f"the vectors that {name} returns", answer[0], tuple(vectors.shape), optional=False)
    check_tensor(what, f"the memory that {name} returns", answer[1], tuple(memory.shape), optional=False)
    return answer[0], answer[1]


def ask_at(topology: Topology, graph: Graph, step: Tensor) -> Graph:
    """The graphs of a topology in the steps [B] of the worlds.

    Raises:
        HookError: If the topology raises an error, or returns no graphs of the team.
    """
    if not topology.scheduled:
        return graph
    what = f"topology {topology.name!r}"
    with calling(what, "at"):
        now = answered(topology.at(graph, step), Graph, what, "at", "a Graph")
    check_tensor(what, "at: source", now.source, tuple(graph.source.shape), torch.int64, optional=False)
    check_tensor(what, "at: kept", now.kept, tuple(graph.source.shape), torch.bool)
    return now


def ask_ranking(topology: Topology, agents: int) -> Tensor | None:
    """A topology's scores [N, N] of senders; None without a preference.

    Raises:
        HookError: If it raises an error, or returns something else.
    """
    what = f"topology {topology.name!r}"
    with calling(what, "ranking"):
        ranking = topology.ranking()
    check_tensor(what, "ranking", ranking, (agents, agents), torch.float32)
    return ranking


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
    answered(graph, Graph, what, "graph", "a Graph")
    check_tensor(what, "graph: source", graph.source, shape, torch.int64, optional=False)
    rounds = () if graph.kept is None or graph.kept.dim() == 3 else (None,)
    check_tensor(what, "graph: kept", graph.kept, (worlds, *rounds, *shape[1:]), torch.bool)
    if hidden is None and graph.source.numel():  # one of every step is not worth a copy to the host
        low, high = (int(end) for end in torch.aminmax(graph.source))
        if low < 0 or high >= agents:
            raise HookError(f"{what}: graph: source must lie in 0 .. {agents - 1}, but goes from {low} to {high}")
    return graph
