"""Judges edits of one exchange by position, powers and norms; counts those that go beyond them as violations."""

from __future__ import annotations

import torch
from torch import Tensor

from agentcomm.contracts.edits import Envelopes, Fragments
from agentcomm.contracts.fragments import ForgedFragments
from agentcomm.contracts.traffic import Traffic
from agentcomm.guards.base import GuardBase
from agentcomm.guards.seen import SeenMessages
from agentcomm.wire.keyring import Keyring


class Permits:
    """Judges message edits by an attack's threat model.

    Args:
        base: The attack.
        links: [N receivers, N + 1 senders] bool, the links that its position covers.
        seen: The messages that the attack has seen.
    """

    def __init__(self, base: GuardBase, links: Tensor, seen: SeenMessages) -> None:
        self.base, self.links, self.seen = base, links, seen
        self.threat, self.violate = base.threat, base.violate

    def touch(self, wanted: Tensor | None, power: str, reach: Tensor) -> Tensor | None:
        """[B, N, M] bool, messages on which that power may be used; None for none."""
        if wanted is None:
            return None
        if power not in self.threat.powers:
            self.violate(f"{power} without the power to", wanted)
            return None
        if self.threat.position.kind == "observer":
            self.violate(f"{power} as an observer", wanted)
            return None
        self.violate(f"{power} out of reach", wanted & ~reach)
        return wanted & reach

    def injection(self, inject: Envelopes | None, keyring: Keyring) -> Tensor | None:
        """[B, N, S] bool, messages that may be injected; None for none."""
        if inject is None:
            return None
        if "inject" in self.threat.powers:
            self.base.require_finite("edits.inject.payload", inject.payload, inject.where.unsqueeze(-1))
            return inject.where & self._may_address(inject)
        if "replay" in self.threat.powers:
            seen = torch.zeros_like(inject.where)
            if inject.where.any() and not inject.sign:
                seen = self.seen.known(inject, keyring.digest(inject.payload))
            self.violate("replay of what it has not seen", inject.where & ~seen)
            return inject.where & seen & self._may_address(inject)
        self.violate("inject without the power to", inject.where)
        return None

    def fragments(self, wanted: Fragments, traffic: Traffic, reach: Tensor) -> Tensor | None:
        """[B, N, M, 3 + F + F'] bool, permitted fragments: early, middle, missing; up to F begun, F' stray ones."""
        begin = _one_by_one(wanted.begin)
        stray = begin[..., :0] if wanted.stray is None else _one_by_one(wanted.stray)
        missing = torch.zeros_like(wanted.early) if wanted.missing is None else wanted.missing
        named = torch.stack([wanted.early, wanted.middle], -1)
        if "drop" not in self.threat.powers:
            self.violate("drop fragments without the power to", missing)
            missing = torch.zeros_like(missing)
        all_ = torch.cat([named, begin, stray], -1)
        if not {"inject", "replay"} & self.threat.powers:
            self.violate("fragments without the power to inject", all_)
            named, begin, stray = (torch.zeros_like(part) for part in (named, begin, stray))
        if self.threat.position.kind in ("observer", "hub"):
            self.violate(f"fragments from position {self.threat.position.kind}", all_)
            return None
        if "inject" not in self.threat.powers:
            seen = self.seen.anything().view(*traffic.source.shape[:2], 1, 1)
            if wanted.sender is not None:  # copies keep the name that is on them
                seen = seen & self.seen.named(wanted.sender).unsqueeze(-1)
            self.violate("fragments of what it has not seen", torch.cat([named, begin & ~seen, stray], -1))
            named, begin, stray = torch.zeros_like(named), begin & seen, torch.zeros_like(stray)
        loose = torch.cat([begin, stray], -1)
        if wanted.sender is not None:
            inside = ((wanted.sender >= 0) & (wanted.sender <= len(self.links))).unsqueeze(-1)
            self.violate("fragments from an unknown sender", loose & ~inside)
            loose = loose & inside
        if self.threat.position.kind == "edge":
            here, on_link = reach.unsqueeze(-1), self.links.any(1).view(1, -1, 1, 1)
            self.violate("fragments out of reach", torch.cat([named & ~here, loose & ~on_link], -1))
            named, loose = named & here, loose & on_link
        self.violate("drop out of reach", missing & ~reach)
        return torch.cat([named, (missing & reach).unsqueeze(-1), loose], -1)

    def put(self, wanted: Fragments, paid: Tensor) -> ForgedFragments:
        """The fragments [B, N, M, 3 + F + F'] that are paid for; one that reads continues chains that need no key."""
        begun = int(wanted.begin.max()) if wanted.begin.numel() else 0
        early, middle, missing = paid[..., 0], paid[..., 1], paid[..., 2]
        outsider = torch.full_like(wanted.begin, len(self.links))
        return ForgedFragments(
            begin=paid[..., 3 : 3 + begun].sum(-1),
            stray=paid[..., 3 + begun :].sum(-1),
            early=early,
            middle=middle,
            missing=missing,
            sender=outsider if wanted.sender is None else wanted.sender,
            chained=torch.full_like(early, "read" in self.threat.powers),
        )

    def _may_address(self, inject: Envelopes) -> Tensor:
        """[B, N, S] bool, messages with permitted addresses: on-path attackers inject on their own links only."""
        agents = len(self.links)
        nowhere = {"observer": "an observer", "hub": "a hub", "sensor": "a sensor"}
        if self.threat.position.kind in nowhere:
            self.violate(f"inject as {nowhere[self.threat.position.kind]}", inject.where)
            return torch.zeros_like(inject.where)
        allowed = (inject.sender >= 0) & (inject.sender <= agents)
        self.violate("inject from an unknown sender", inject.where & ~allowed)
        if self.threat.position.kind != "edge":
            return allowed
        receiver = torch.arange(agents, device=inject.where.device).view(1, -1, 1).expand_as(inject.sender)
        on_link = self.links[receiver, inject.sender.clamp(0, agents)]
        self.violate("inject out of reach", inject.where & allowed & ~on_link)
        return allowed & on_link

    def change(self, modify: Tensor, change: Tensor) -> tuple[Tensor, Tensor]:
        """Messages to modify and their changes, limited to norm and length.

        Raises:
            NumberError: If a change of a message to modify is not finite.
        """
        largest = change.abs().amax(-1)  # passes NaN and infinity on
        finite = largest.isfinite()
        if not finite.all():
            self.base.require_finite("edits.change", change, modify.unsqueeze(-1))
            change = change.masked_fill(~finite.unsqueeze(-1), 0.0)
        norm = self.threat.budget.norm
        if norm is not None and (largest > norm).any():
            # Float rounding is not a violation.
            self.violate("modify beyond the norm", modify & (largest > norm * (1 + 1e-5)))
            change = change.clamp(-norm, norm)
        length = self.threat.budget.length
        if length is not None:
            longest = change.norm(dim=-1)
            self.violate("modify beyond the length", modify & (longest > length * (1 + 1e-5)))
            change = change * (length / longest.clamp_min(max(length, 1e-30))).unsqueeze(-1)
        return modify, change


def _one_by_one(count: Tensor) -> Tensor:
    """[..., F] bool, the first ``count`` [...] of F."""
    most = int(count.max()) if count.numel() else 0
    return torch.arange(most, device=count.device) < count.unsqueeze(-1)
