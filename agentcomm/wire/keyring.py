"""Keyring: the keys of all agents, and symbolic seals over messages in the batch.

A symbolic seal is a Dolev-Yao term: it verifies only if it was made with the claimed sender's key over exactly these
fields. The term is a 64-bit keyed hash of the header and of a digest of the payload, cheap enough for thousands of
worlds. It models an unforgeable tag but is not one, because code in the same process could read the secrets.
"""

from __future__ import annotations

from dataclasses import replace

import torch
from torch import Tensor

from agentcomm.base.memo import Memo
from agentcomm.base.state import State
from agentcomm.contracts.inbox import gather_agents
from agentcomm.contracts.traffic import Traffic

# Odd multipliers of the splitmix64 finalizer (Steele, Lea and Flood, OOPSLA 2014), as signed 64-bit.
_MIX_A = -0x40A7B892E31B1A47
_MIX_B = -0x6B2FB644ECCEEE15
CHUNK = 1 << 17  # numbers that are mixed at a time: what is computed of them stays in a processor's cache


def mix(x: Tensor) -> Tensor:
    """Scramble 64-bit numbers by a bijection."""
    x = _folded(x, 30).mul_(_MIX_A)
    x = _folded(x, 27).mul_(_MIX_B)
    return _folded(x, 31)


def _folded(x: Tensor, by: int) -> Tensor:
    """``x ^ (x >> by)`` with a logical shift: an arithmetic one would scramble x and ~x to the same number."""
    return (x >> by).bitwise_and_((1 << (64 - by)) - 1).bitwise_xor_(x)


class Keyring(State):
    """The secret keys of N agents and, as number N, of a newcomer, and the episodes in which they seal.

    A seal covers the episode, which sender and receiver both know and no envelope names. Sealed messages of an earlier
    episode or another world therefore fail to verify, although the windows of sequence numbers start again with each
    episode.

    Args:
        num_agents: N.
        width: Payload width D.
        generator: Source of the secrets.
        device: Where the tensors live.
        num_worlds: B.

    Attributes:
        episode: [B] int64, number of each world's running episode; every episode of every world has its own.
        generation: [B, N + 1] int64, how often each key was renewed in the running episode.
        renewed: Whether any key was ever renewed.
    """

    keeps = ("episode", "generation", "renewed")

    def __init__(
        self, num_agents: int, width: int, generator: torch.Generator, device: torch.device, num_worlds: int = 1
    ) -> None:
        def draw(*shape: int) -> Tensor:
            return torch.randint(-(2**62), 2**62, shape, generator=generator, device=device)

        self.num_agents = num_agents
        self._secrets = draw(num_agents + 1)
        self._fields = draw(7) | 1
        self._coordinates = draw(width) | 1
        self._episode_factor = draw(1) | 1
        self._generation_factor = draw(1) | 1
        self.episode = torch.arange(num_worlds, device=device)
        self.generation = torch.zeros(num_worlds, num_agents + 1, dtype=torch.int64, device=device)
        self.renewed = False
        self._said = Memo()  # digests of what agents say, which are needed to seal and to verify

    def reset(self, worlds: Tensor) -> None:
        """Begin the next episode in the given worlds ([W] indices), with the first keys."""
        self.episode[worlds] += len(self.episode)
        self.generation[worlds] = 0

    def renew(self, agents: Tensor) -> None:
        """Give some agents ([B, N] bool) new keys; seals by their old ones no longer verify."""
        self.generation[:, :-1] += agents
        self.renewed = True

    def digest(self, payload: Tensor) -> Tensor:
        """Digest of the exact bits of float32 payloads: [..., D] -> [...] int64.

        -0.0 counts as 0.0: the numbers are equal, and adding a change of zero turns one into the other.
        """
        numbers = (payload.detach().float() + 0.0).contiguous()
        rows = torch.split(numbers.view(torch.int32).view(-1, numbers.shape[-1]), max(CHUNK // numbers.shape[-1], 1))
        mixed = [(mix(part.to(torch.int64)).mul_(self._coordinates)).sum(-1) for part in rows]
        return mix(torch.cat(mixed).view(numbers.shape[:-1]))

    def digests(self, traffic: Traffic) -> Tensor:
        """[B, N, M] digest of the payload in each slot; computed once per sender for payloads that were not changed."""
        spoken = self._said.of((traffic.spoken,), lambda: self.digest(traffic.spoken))
        said = gather_agents(spoken.unsqueeze(-1), traffic.source).squeeze(-1)
        if traffic.scale is None and traffic.delta is None:
            return said
        changed = torch.zeros_like(traffic.present) if traffic.scale is None else traffic.scale != 1
        if traffic.delta is not None:
            changed = changed | (traffic.delta.abs().sum(-1) != 0)
        at = changed.flatten().nonzero().squeeze(1)
        digests = self.digest(traffic.payload().flatten(0, -2).index_select(0, at))
        return said.flatten().index_copy(0, at, digests).view(said.shape)

    def tag(self, traffic: Traffic, key: Tensor, digests: Tensor | None = None) -> Tensor:
        """Seals [B, N, M] by ``key`` [B, N, M] over the current traffic."""
        body = self.digests(traffic) if digests is None else digests
        f = self._fields
        body = body + traffic.sender * f[0] + traffic.audience * f[1] + traffic.sequence * f[2]
        body = body + traffic.sent_at * f[3] + traffic.sent_round * f[4] + key * f[5] + traffic.expiry * f[6]
        body = body + (self.episode * self._episode_factor).view(-1, 1, 1)
        return mix(mix(body) + self._secret(key.clamp(0, self.num_agents)))

    def _secret(self, key: Tensor) -> Tensor:
        """[B, N, M] the present secrets of the keys [B, N, M]."""
        if not self.renewed:
            return self._secrets[key]
        return self._secrets[key] + self.generation.gather(1, key.flatten(1)).view(key.shape) * self._generation_factor

    def seal(self, traffic: Traffic) -> Traffic:
        """Seal every present message with its true sender's key."""
        tags = self.tag(traffic, traffic.origin)
        return replace(
            traffic,
            key=torch.where(traffic.present, traffic.origin, traffic.key),
            seal=torch.where(traffic.present, tags, traffic.seal),
        )

    def verify(self, traffic: Traffic) -> Tensor:
        """[B, N, M] bool, whether the claimed sender's key made the seal over exactly these fields in this episode."""
        return (traffic.key == traffic.sender) & (traffic.seal == self.tag(traffic, traffic.sender))

    def signers(self, traffic: Traffic) -> Tensor:
        """[B, N, M] int64, the key that made the seal over exactly these fields, whoever the sender; -1 for none."""
        known = (traffic.key >= 0) & (traffic.key <= self.num_agents)
        return torch.where(known & (traffic.seal == self.tag(traffic, traffic.key)), traffic.key, -1)
