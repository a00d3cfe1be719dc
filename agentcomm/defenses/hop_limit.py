"""hop_limit: bound how far content travels, and end loops, even if forwarders pose as its authors.

The hops left on an envelope change on the way, so no seal covers them: they bound honest relays (``relays``) and
nothing else. A forwarder that sends what it has heard as a message of its own starts again with all hops
("re-rooting"; prompt infection spreads that way: ``pollute``). So depth is not read from the message. A log shared by
the team notes who accepted which content from whom, by authenticated sender. A message whose content its sender has
accepted before is a forwarded one: it keeps the root of that content and is one hop deeper, whatever it claims. What
goes deeper than ``limit`` is refused, and so is what comes back to its root.

Content is compared by four random projections, up to ``tolerance`` in units of the length of honest payloads.

It assumes that the log is kept and read by a trusted party, such as a hub. It cannot stop forwarders that change
content by more than the tolerance, wait for more than ``horizon`` steps or pass it on outside the network, nor the
root itself. Honest agents that repeat what they have heard, as those with a small vocabulary do, are refused as well.
"""

from __future__ import annotations

from typing import Any

import torch
from pydantic import Field
from torch import Tensor

from agentcomm.base.masks import repeated
from agentcomm.contracts.defense import Defense, IdentityConfig
from agentcomm.contracts.deployment import Deployment
from agentcomm.contracts.inbox import gather_agents
from agentcomm.contracts.shape import TeamShape
from agentcomm.contracts.traffic import HOPS
from agentcomm.contracts.verdicts import Delivered, Verdicts

PROJECTIONS = 4
SEED = 20250117
FAR = 1 << 16  # depth of content that no agent has said


class HopLimitConfig(IdentityConfig):
    """Arguments of ``hop_limit``."""

    limit: int = Field(1, ge=1, le=64, description="hops that content may take from its root; 1: only to its neighbors")
    relays: int = Field(HOPS, ge=0, le=HOPS, description="hops that the envelope of a message may have taken")
    horizon: int = Field(4, ge=1, le=64, description="steps for which the log remembers content")
    tolerance: float = Field(
        1e-3, gt=0, le=1, description="difference of payloads that counts as none, in units of sqrt(payload width)"
    )


class HopLimit(Defense[HopLimitConfig]):
    """Follows content from its root through the log of what agents have accepted."""

    order = "authorize"
    answers = ("aa.l2.dos_defense",)
    adaptive = ("pollute:mutation=0.1",)
    needs_identity = True
    history = None
    fails_open = False
    lossless = False  # where honest agents repeat what they have heard

    @classmethod
    def forms(cls) -> dict[str, dict[str, Any]]:
        """Neighbors only."""
        return {"": {"unauthenticated": True}}

    def __init__(self, config: HopLimitConfig, team_shape: TeamShape) -> None:
        super().__init__(config, team_shape)
        self._exchanges = config.horizon * max(team_shape.rounds, 1)
        generator = torch.Generator().manual_seed(SEED)
        directions = torch.randn(team_shape.width, PROJECTIONS, generator=generator)
        self._directions = torch.nn.functional.normalize(directions, dim=0).to(team_shape.device)

    def assumes(self, deployment: Deployment) -> dict[str, bool | float | str]:
        """A log that is kept and read by a trusted party."""
        return super().assumes(deployment) | {"trusted_log": True}

    def memory(self) -> dict[str, Tensor]:
        """The log, a ring over E exchanges: what receiver i has accepted from sender j.

        ``at`` [B, E] int64, number of the exchange; of [B, E, N, N + 2] messages ``print`` [..., 4], ``depth`` (FAR for
        none) and ``root`` int64. Sender N is an outsider, and place N + 1 takes what is not to be remembered.
        """
        s = self.team_shape
        sizes = (s.num_worlds, self._exchanges, s.num_agents, s.num_agents + 2)
        return {
            "at": torch.full(sizes[:2], -1, dtype=torch.int64, device=s.device),
            "print": torch.zeros(*sizes, PROJECTIONS, device=s.device),
            "depth": torch.full(sizes, FAR, dtype=torch.int64, device=s.device),
            "root": torch.zeros(sizes, dtype=torch.int64, device=s.device),
        }

    def screen(self, delivered: Delivered, memory: dict[str, Tensor]) -> Verdicts:
        """Refuse what is too deep or comes back; the score is the depth of a message's content."""
        d, agents = delivered, self.team_shape.num_agents
        number = d.step * max(self.team_shape.rounds, 1) + d.round
        place = self._turn(number, memory)
        content = (d.payload / self.team_shape.width**0.5).nan_to_num(0.0, 1e30, -1e30).clamp(-1e30, 1e30)
        prints = content @ self._directions
        sender = d.sender.clamp(0, agents)
        depth, root = self._trace(prints, sender, d.present, memory)
        taken = HOPS - d.hops
        good = d.present & (depth <= self.config.limit) & ((root != d.receiver) | (depth == 1))
        good &= (taken >= 0) & (taken <= self.config.relays)
        self._note(place, good, sender, {"print": prints, "depth": depth, "root": root}, memory)
        return Verdicts(refuse=d.present & ~good, score=depth.float().masked_fill(~d.present, 0.0))

    def _note(
        self, place: Tensor, good: Tensor, sender: Tensor, noted: dict[str, Tensor], memory: dict[str, Tensor]
    ) -> None:
        """Write accepted messages into the log; of several by one sender in an inbox the first counts."""
        worlds = torch.arange(len(place), device=place.device)
        to = torch.where(good & ~repeated(good, sender), sender, self.team_shape.num_agents + 1)
        for name, value in noted.items():
            where = to if value.dim() == to.dim() else to.unsqueeze(-1).expand_as(value)
            memory[name][worlds, place] = memory[name][worlds, place].scatter(2, where, value)
        memory["depth"][..., -1], memory["root"][..., -1], memory["print"][..., -1, :] = FAR, 0, 0.0

    def _turn(self, number: Tensor, memory: dict[str, Tensor]) -> Tensor:
        """[B] int64, the place of exchange ``number`` [B] in the ring, which is emptied when it is used again."""
        place = number % self._exchanges
        worlds = torch.arange(len(place), device=place.device)
        old = memory["at"][worlds, place] != number
        memory["depth"][worlds, place] = torch.where(old.view(-1, 1, 1), FAR, memory["depth"][worlds, place])
        memory["at"][worlds, place] = number
        return place

    def _trace(
        self, prints: Tensor, sender: Tensor, present: Tensor, memory: dict[str, Tensor]
    ) -> tuple[Tensor, Tensor]:
        """Depth and root of contents [B, N, M, 4] of messages from ``sender`` [B, N, M], each [B, N, M] int64."""
        agents, flat = self.team_shape.num_agents, sender.flatten(1)
        said = prints.masked_fill(~present.unsqueeze(-1), -torch.inf).flatten(1, 2)
        most = torch.full((len(prints), agents + 1, PROJECTIONS), -torch.inf, device=prints.device)
        most.scatter_reduce_(1, flat.unsqueeze(-1).expand_as(said), said, "amax")
        same = most.gather(1, flat.unsqueeze(-1).expand_as(said)) == said
        if not bool(
            (same.all(-1) | ~present.flatten(1)).all()
        ):  # a sender says different things to different receivers
            return self._look_up(prints, sender, memory)
        everyone = torch.arange(agents + 1, device=sender.device).view(1, -1, 1).expand(len(sender), -1, 1)
        depth, root = self._look_up(most.clamp(-1e30, 1e30).unsqueeze(2), everyone, memory)
        return depth.squeeze(2).gather(1, flat).view_as(sender), root.squeeze(2).gather(1, flat).view_as(sender)

    def _look_up(self, prints: Tensor, sender: Tensor, memory: dict[str, Tensor]) -> tuple[Tensor, Tensor]:
        """Depth and root [B, P, Q] of contents [B, P, Q, 4], by what their senders [B, P, Q] have accepted."""
        agents, tolerance = self.team_shape.num_agents, self.config.tolerance
        inbox = sender.clamp(max=agents - 1)  # what the sender has accepted; an outsider has accepted nothing here
        prefix = memory["print"][..., 0].transpose(1, 2).flatten(2)  # [B, N, E * (N + 2)]
        away = gather_agents(prefix, inbox) - prints[..., :1]
        alike = (away.abs_() <= tolerance) & (sender < agents).unsqueeze(-1)
        # Few contents agree in the first projection, so only these are compared in all of them.
        world, *query, place = alike.nonzero(as_tuple=True)
        entry = world, place // (agents + 2), inbox[world, *query], place % (agents + 2)
        depth = memory["depth"][entry]
        same = (depth < FAR) & ((memory["print"][entry] - prints[world, *query]).abs() <= tolerance).all(-1)
        # The least depth counts, and of equally deep ones the first in the log.
        size = alike.shape[-1]
        found = torch.where(same, depth * size + place, FAR * size)
        flat = (world * sender.shape[1] + query[0]) * sender.shape[2] + query[1]
        best = torch.full_like(sender, FAR * size).flatten().scatter_reduce(0, flat, found, "amin").view_as(sender)
        least, first = best // size, best % size
        worlds = torch.arange(len(sender), device=sender.device).view(-1, 1, 1)
        root = memory["root"][worlds, first // (agents + 2), inbox, first % (agents + 2)]
        forwarded = least < FAR
        return torch.where(forwarded, least + 1, 1), torch.where(forwarded, root, sender)
