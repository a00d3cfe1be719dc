"""Relation-enhanced attention s_ij = (x_i + E[A_ij]) W_q^T W_k (x_j + E[A_ji]) to oneself and accepted messages."""

from __future__ import annotations

import torch
from torch import Tensor, nn

from agentcomm.contracts.inbox import Inbox
from policies.parts.mixing import pair_scores, softmax_mix, softmax_mix_pairs

DENSE_AGENTS = 8  # from this team size on, products of all pairs are faster than gathering keys and values per link


class ListeningBlock(nn.Module):
    """One post-norm transformer layer in which agent i attends to itself and to its accepted messages.

    The edge embedding E enters through its projections, which are free parameters just as E is: ``relation`` is E W_k,
    and E[1] W_q, the same for all receivers, is part of the query's bias. Key and value need no bias: the softmax
    cancels the first, and the output layer's bias absorbs the second.

    Only the k messages of an inbox are gathered, so that time and memory grow with N * k instead of N^2. Where most
    pairs are linked, products of all pairs replace the gathered keys and values.
    """

    def __init__(self, width: int, heads: int) -> None:
        super().__init__()
        self.heads = heads
        self.project = nn.Linear(width, 3 * width, bias=False)  # query, key, value
        self.query_bias = nn.Parameter(torch.zeros(width))
        self.out = nn.Linear(width, width)
        self.relation = nn.Parameter(0.1 * torch.randn(2, width))
        self.norm = nn.LayerNorm(width)
        self.feed = nn.Sequential(nn.Linear(width, width), nn.GELU(), nn.Linear(width, width))

    def forward(self, token: Tensor, inbox: Inbox) -> Tensor:
        """Tokens [B, N, D] and inboxes -> tokens [B, N, D].

        Args:
            token: Each agent's own token, which does not pass the network.
            inbox: The received messages.
        """
        width = token.shape[-1]
        heads = (self.heads, width // self.heads)
        query, own = torch.split(self.project(token), [width, 2 * width], -1)
        own_key, own_value = (part.unflatten(-1, heads) for part in own.chunk(2, -1))
        if inbox.mask.shape[-1] == 0:
            mixed = own_value.flatten(-2)
        else:
            query = query + self.query_bias
            # Products of all heads with both relations in one matrix: rows (relation, head).
            relation = self.relation.unflatten(-1, heads).unsqueeze(1)
            per_head = torch.eye(self.heads, device=token.device).unsqueeze(-1) * relation
            toward = nn.functional.linear(query, per_head.reshape(-1, width)).unflatten(-1, (2, self.heads))
            query = query.unflatten(-1, heads)
            own_score = (query * own_key).sum(-1) + toward[:, :, 1]
            related = toward.gather(2, inbox.mutual().long().unsqueeze(-1).expand(-1, -1, -1, self.heads))
            # If agents send their own tokens, keys and values are computed already.
            spoken = own if inbox.spoken is token else None
            weight, scale = self.project.weight[width:], heads[1] ** -0.5
            if _is_dense(inbox):
                spoken = nn.functional.linear(inbox.spoken, weight) if spoken is None else spoken
                key, value = (part.unflatten(-1, heads) for part in spoken.chunk(2, -1))
                scores = torch.cat([own_score.unsqueeze(2), pair_scores(query, key, inbox) + related], 2)
                mixed = softmax_mix_pairs(scores * scale, own_value, value, inbox).flatten(-2)
            else:
                heard = inbox.project(weight, spoken)
                heard_key, heard_value = (part.unflatten(-1, heads) for part in heard.chunk(2, -1))
                scores = torch.cat([own_score.unsqueeze(2), (query.unsqueeze(2) * heard_key).sum(-1) + related], 2)
                values = torch.cat([own_value.unsqueeze(2), heard_value], 2)
                mixed = softmax_mix(scores * scale, values, inbox).flatten(-2)
        token = self.norm(token + self.out(mixed))
        return nn.functional.layer_norm(token + self.feed(token), (width,))


def _is_dense(inbox: Inbox) -> bool:
    """Whether most pairs are linked in a team that is not small, and all messages arrive as they were spoken."""
    agents, slots = inbox.spoken.shape[1], inbox.mask.shape[2]
    plain = all(x is None for x in (inbox.scale, inbox.delta, inbox.listening, inbox.receiver))
    return plain and agents >= DENSE_AGENTS and 2 * slots >= agents
