"""authorize: accept a message only on a permitted link, and only if its payload is of the permitted kind.

Default deny: a receiver accepts what comes from the agents that it listens to by the team's graph, or on the links of
a list. A list narrows the graph; it cannot add links that carry no messages. On each permitted link a payload may
have at most a given length, in units of sqrt(D), that of honest payloads.

It needs names that are authenticated, since any attacker can write a permitted name. It cannot stop misuse within the
permission: a permitted sender may say anything of that length. Lists have to be written and kept up to date, and a
receiver whose senders change from step to step permits all that its graph picks, so whoever steers a learned graph
(``hijack_edges``) is permitted as well.
"""

from __future__ import annotations

from typing import Any

import torch
from pydantic import Field
from torch import Tensor

from agentcomm.contracts.defense import Defense, IdentityConfig
from agentcomm.contracts.deployment import Deployment
from agentcomm.contracts.shape import TeamShape
from agentcomm.contracts.verdicts import Delivered, Verdicts

SLACK = 1.01  # keeps rounding out of it


class AuthorizeConfig(IdentityConfig):
    """Arguments of ``authorize``."""

    links: tuple[tuple[int, int], ...] | None = Field(
        None, description="permitted links as [sender, receiver]; those of the team's graph when not given"
    )
    bound: float | None = Field(
        None, gt=0, description="largest length of a payload, in units of sqrt(payload width); none when not given"
    )
    bounds: tuple[tuple[int, int, float], ...] = Field(
        (), description="other bounds for single links as [sender, receiver, bound]"
    )


class Authorize(Defense[AuthorizeConfig]):
    """Looks claimed sender and receiver up, then measures the payload."""

    order = "authorize"
    answers = ("ua.l2.authority_verification", "aa.l3.permission_classification")
    adaptive = ("abuse:distance=0",)
    needs_identity = True
    fails_open = False

    @classmethod
    def forms(cls) -> dict[str, dict[str, Any]]:
        """By the graph, and by a list with bounds."""
        return {
            "": {"unauthenticated": True},
            "bounded": {"bound": 2.0, "bounds": [[1, 0, 1.5]], "unauthenticated": True},
        }

    def __init__(self, config: AuthorizeConfig, team_shape: TeamShape) -> None:
        super().__init__(config, team_shape)
        agents = team_shape.num_agents
        named = [*(config.links or ()), *(link[:2] for link in config.bounds)]
        for sender, receiver in named:
            if not (0 <= sender < agents and 0 <= receiver < agents):
                raise ValueError(f"link [{sender}, {receiver}] names an agent outside 0 .. {agents - 1}")
        permitted = torch.full((agents, agents + 1), config.links is None)
        bound = torch.full((agents, agents + 1), torch.inf if config.bound is None else config.bound)
        for sender, receiver in config.links or ():
            permitted[receiver, sender] = True
        for sender, receiver, most in config.bounds:
            bound[receiver, sender] = most
        self._permitted, self._bound = permitted.to(team_shape.device), bound.to(team_shape.device)
        self._bounded = bool(bound.isfinite().any())

    def unmet(self, deployment: Deployment) -> str | None:
        """Lengths are measured before decoding, so the codec's output must be the payload itself."""
        if self._bounded and deployment.codec is not None and deployment.codec.stateful:
            codec = deployment.codec.name
            return f"codec {codec!r} sends changes of payloads, whose lengths say nothing: leave out the bounds"
        return super().unmet(deployment)

    def screen(self, delivered: Delivered, memory: dict[str, Tensor]) -> Verdicts:
        """Refuse what is not permitted; the score is 1 for such messages."""
        d, agents = delivered, self.team_shape.num_agents
        sender = d.sender.clamp(0, agents)
        heard = (d.sender.unsqueeze(-1) == d.link.unsqueeze(-2)).any(-1) & (d.sender < agents)
        good = heard & self._permitted[d.receiver, sender]
        if self._bounded:
            most = self._bound[d.receiver, sender] * self.team_shape.width**0.5
            length = d.payload.double().norm(dim=-1)  # not a number, if the payload is not; then no bound permits it
            good &= (length <= SLACK * most) | (most.isinf() & ~length.isnan())
        return Verdicts(refuse=d.present & ~good, score=(~good).float())
