"""Judges edits of one exchange by position, powers and norms; counts those that go beyond them as violations."""

from __future__ import annotations

import torch
from torch import Tensor

from agentcomm.contracts.edits import Envelopes, Fragments
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
        """[B, N, M, 2 + F] bool, permitted fragments: early, middle, and up to F that begin another message."""
        counts = torch.arange(int(wanted.begin.max()) if wanted.begin.numel() else 0, device=wanted.begin.device)
        begin = counts < wanted.begin.unsqueeze(-1)
        named = torch.stack([wanted.early, wanted.middle], -1)
        all_ = torch.cat([named, begin], -1)
        if not {"inject", "replay"} & self.threat.powers:
            self.violate("fragments without the power to inject", all_)
            return None
        if self.threat.position.kind in ("observer", "hub"):
            self.violate(f"fragments from position {self.threat.position.kind}", all_)
            return None
        if "inject" not in self.threat.powers:
            seen = self.seen.anything().view(*traffic.source.shape[:2], 1, 1)
            self.violate("fragments of what it has not seen", named)
            self.violate("fragments of what it has not seen", begin & ~seen)
            named, begin = torch.zeros_like(named), begin & seen
        if self.threat.position.kind == "edge":
            on_link = self.links.any(1).view(1, -1, 1, 1)
            self.violate("fragments out of reach", torch.cat([named & ~reach.unsqueeze(-1), begin & ~on_link], -1))
            named, begin = named & reach.unsqueeze(-1), begin & on_link
        return torch.cat([named, begin], -1)

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
