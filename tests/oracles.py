"""What the tests of policies hold them against: dense attention, paths, agents one after the other."""

from __future__ import annotations

from typing import Any

import torch
from torch import Tensor, nn

from agentcomm.contracts.inbox import Inbox
from agentcomm.contracts.policy import CommPolicy
from agentcomm.contracts.traffic import Links
from agentcomm.step.decide import Decision
from agentcomm.training.recording import record_inboxes
from policies.parts.attention import ListeningBlock

CREW = {"perception_agents": 4, "capture_agents": 2}


def pairs(source: Tensor, values: Tensor | None = None) -> Tensor:
    """Slots [B, N, M] as a matrix [B, N, N] (row: receiver): True, or the values [B, N, M, ...], where one is used."""
    values = torch.ones_like(source, dtype=torch.bool) if values is None else values
    worlds, agents, slots = source.shape
    out = values.new_zeros(worlds, agents, agents, *values.shape[3:])
    for m in range(slots):
        out[torch.arange(worlds).view(-1, 1), torch.arange(agents), source[..., m]] = values[:, :, m]
    return out


def dense_attention(block: ListeningBlock, token: Tensor, said: Tensor, heard: Tensor, graph: Tensor) -> Tensor:
    """The layer over all pairs of agents at once, as in the paper.

    Args:
        block: The layer.
        token: [B, N, D].
        said: [B, N, N, D] what i hears of j.
        heard: [B, N, N] bool, whether i hears j.
        graph: [B, N, N] bool, whether i listens to j: what the relation follows, whatever was lost or added.
    """
    width = token.shape[-1]
    heads = (block.heads, width // block.heads)
    query, key, val = torch.split(block.project.weight, width)
    own = torch.eye(token.shape[1], dtype=torch.bool)
    # The block learns the images of an edge embedding E; go back to E, which the paper adds to the tokens.
    edge = torch.linalg.lstsq(key, block.relation.T).solution.T
    said = torch.where(own.unsqueeze(-1), token.unsqueeze(2), said)
    q = (token + edge[1]) @ query.T + block.query_bias - query @ edge[1]
    k = (said + edge[(graph.transpose(1, 2) | own).long()]) @ key.T
    q, k, v = q.unflatten(-1, heads), k.unflatten(-1, heads), (said @ val.T).unflatten(-1, heads)
    scores = torch.einsum("bihd,bijhd->bijh", q, k) / heads[1] ** 0.5
    attention = scores.masked_fill(~(heard | own).unsqueeze(-1), -torch.inf).softmax(2)
    mixed = torch.einsum("bijh,bijhd->bihd", attention, v).flatten(-2)
    x = block.norm(token + block.out(mixed))
    return nn.functional.layer_norm(x + block.feed(x), (width,))


def run(
    policy: Any, observation: Tensor, source: Tensor, open_: Tensor | None = None, action: Tensor | None = None
) -> Tensor:
    """Logits with messages delivered untouched; gradients flow."""
    open_ = torch.ones(source.shape[:2], dtype=torch.bool) if open_ is None else open_
    present = Links(source, open_).present
    told = present & (source < torch.arange(source.shape[1]).view(1, -1, 1))

    def deliver(round_: int, spoken: Tensor) -> Inbox:
        last = policy.autoregressive and round_ == policy.rounds - 1
        return Inbox(spoken, source, told if last else present, source)

    logits: Tensor = policy.run(policy.encode(observation), deliver, action)
    return logits


def influence(values: Tensor, observation: Tensor) -> Tensor:
    """[B, N, N] summed |d value of i / d observation of j|, of values [B, N] or [B, N, A]."""
    rows = []
    for i in range(values.shape[1]):
        (gradient,) = torch.autograd.grad(values[:, i].square().sum(), observation, retain_graph=True)
        rows.append(gradient.abs().sum(-1))
    return torch.stack(rows, 1)


def paths(graph: Tensor, rounds: int, autoregressive: bool) -> Tensor:
    """[B, N, N] bool, whether a chain of messages leads from j to i within a step.

    Args:
        graph: [B, N, N] bool, whether a message passes from j to i in each exchange.
        rounds: How many rounds there are.
        autoregressive: Whether messages of the last round pass from earlier to later agents only.
    """
    own = torch.eye(graph.shape[1])
    reach = own.expand(graph.shape)
    for round_ in range(rounds):
        last = autoregressive and round_ == rounds - 1
        reach = ((graph.tril() if last else graph) + own) @ reach
    return reach > 0


def rows_of(decision: Decision, observation: Tensor, **more: Tensor) -> dict[str, Tensor]:
    """What a rollout records of one decision."""
    rows = {
        "observation": observation,
        "action": decision.action,
        "gate": decision.gate,
        "links": decision.links,
        "draw": decision.draw,
        **{name: column[0] for name, column in record_inboxes([decision.inboxes], decision.links[None]).items()},
        **more,
    }
    if decision.closed is not None:
        rows |= {"asked": decision.asked, "closed": decision.closed}
    return rows if decision.gate_noise is None else rows | {"gate_noise": decision.gate_noise}


def one_after_the_other(policy: CommPolicy, hidden: Tensor, links: Links, gumbel: Tensor | None) -> Tensor:
    """Logits [B, N, A] of a last round in which each agent waits for all before it: no turns, no cache."""
    agents = hidden.shape[1]
    spoken = torch.zeros(*hidden.shape[:2], policy.width)
    logits = torch.zeros(*hidden.shape[:2], policy.actions.parameters)
    mask = links.present & (links.source < torch.arange(agents).view(1, -1, 1))
    for i in range(agents):
        inbox = Inbox(spoken.clone(), links.source, mask, links.source)
        logits[:, i] = policy.act(policy.hear(hidden, inbox, policy.rounds - 1))[:, i]
        action = policy.actions.choose(logits, gumbel)
        spoken[:, i] = policy.tell(hidden, action)[:, i]
    return logits
