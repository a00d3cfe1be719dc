"""population: in every world and episode one of several attackers, drawn at random, for adversarial training.

A team that is trained against one attacker overfits to it. After MA3C (Yuan et al., Frontiers of Computer Science 2024,
arXiv 2305.05116), which trains a team against a population of learned attackers: members are any attacks, such as
``noise``, ``gradient``, and ``learned`` with the policies of attackers that were trained against earlier teams.

Members attack messages on the wire: they may read, change, drop and delay them, and each keeps to its own links, powers
and limits. Members that inject messages, or act elsewhere, are refused. A step costs what all members cost together.
"""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path
from typing import Any, get_args

import torch
from pydantic import Field, field_validator
from torch import Tensor

from agentcomm.base import registry
from agentcomm.contracts.attack import Attack, AttackConfig, hooks
from agentcomm.contracts.deployment import Deployment
from agentcomm.contracts.edits import MessageEdits
from agentcomm.contracts.shape import TeamShape
from agentcomm.contracts.threat_model import Knowledge, Position, Power, ThreatModel
from agentcomm.contracts.traffic import HEADER
from agentcomm.contracts.views import MessageView
from agentcomm.runs.choices import Choice, build, split_joined

KNOWLEDGE: tuple[Knowledge, ...] = get_args(Knowledge)  # from the least to the most
POWERS = {"read", "modify", "drop", "delay", "reorder"}
UNDRAWN, NOBODY = -1, -2


class PopulationConfig(AttackConfig):
    """Arguments of ``population``."""

    attacks: tuple[Choice, ...] = Field(
        (Choice(name="tamper"), Choice(name="noise"), Choice(name="drop")),
        min_length=1,
        description="the members, attacks on messages on the wire; one is drawn per world and episode",
    )
    spared: float = Field(0.0, ge=0, lt=1, description="share of episodes without an attack")

    @field_validator("attacks", mode="before")
    @classmethod
    def _joined(cls, attacks: Any) -> Any:
        return split_joined(attacks)

    def inputs(self) -> list[Path]:
        """Files and folders that members read."""
        return [path for choice in self.attacks for path in build("attack", choice).inputs()]

    def code(self) -> list[str]:
        """Modules of the members."""
        found = [registry.find("attack", choice.name).__module__ for choice in self.attacks]
        return [*found, *(module for choice in self.attacks for module in build("attack", choice).code())]


class Population(Attack[PopulationConfig]):
    """Lets one of its members act in each world, for a whole episode."""

    risks = ("ua.l1.integrity", "ua.l1.availability")

    @classmethod
    def forms(cls) -> dict[str, dict[str, Any]]:
        """Members that read nothing, and that have limits and links of their own."""
        limited = {"name": "tamper", "how": "bias", "links": [[0, 1], [2, 0]], "budget": {"per_episode": 2}}
        return {"": {"spared": 0.2, "attacks": [limited, {"name": "drop", "probability": 0.5}, {"name": "delay"}]}}

    def __init__(self, config: PopulationConfig, team_shape: TeamShape) -> None:
        super().__init__(config, team_shape)
        self.members = [_member(choice, team_shape) for choice in config.attacks]
        self.threats = [member.threat_model() for member in self.members]
        for choice, threat in zip(config.attacks, self.threats, strict=True):
            if threat.position.kind != "edge" or threat.powers - POWERS:
                raise ValueError(
                    f"member {choice.label!r} has position {threat.position.kind!r} and powers"
                    f" {', '.join(sorted(threat.powers))}; members must be on the path (edge), and may only"
                    f" {', '.join(sorted(POWERS))}"
                )
        self._powers: frozenset[Power] = frozenset(power for threat in self.threats for power in threat.powers)
        places = [_links(threat.position, team_shape.num_agents) for threat in self.threats]
        self._links = torch.stack(places).to(team_shape.device)  # [members, N, N] bool, by receiver and sender

    def threat_model(self) -> ThreatModel:
        """On all links, with the powers and the knowledge of all members; reads, to tell links apart."""
        powers: set[Power] = {"read", *self._powers}
        knowledge = max((threat.knowledge for threat in self.threats), key=KNOWLEDGE.index)
        norms = [threat.budget.norm for threat in self.threats if "modify" in threat.powers]
        norm = None if None in norms else max((norm for norm in norms if norm is not None), default=None)
        return ThreatModel(Position(kind="edge"), frozenset(powers), knowledge, self.config.budget.at_most(norm=norm))

    def unmet(self, deployment: Deployment) -> str | None:
        """What it or a member needs and does not find."""
        for choice, member in zip(self.config.attacks, self.members, strict=True):
            missing = member.unmet(deployment)
            if missing is not None:
                return f"its member {choice.label!r} cannot be used here: {missing}"
        return super().unmet(deployment)

    def memory(self) -> dict[str, Tensor]:
        """``member``, who acts, ``spent`` and ``spent_now``, edits in the episode and in step ``clock``: [B] int64.

        The members' own memories follow, with their numbers before the names.
        """
        s = self.team_shape
        zero = torch.zeros(s.num_worlds, dtype=torch.int64, device=s.device)
        own = {"member": zero + UNDRAWN, "clock": zero - 1, "spent": zero, "spent_now": zero.clone()}
        parts = [member.memory() for member in self.members]
        return own | {f"{number} {name}": value for number, part in enumerate(parts) for name, value in part.items()}

    def on_messages(self, view: MessageView) -> MessageEdits:
        """The edits of each world's member."""
        memory, acting = view.memory, self._draw(view)
        memory["spent_now"].masked_fill_(memory["clock"] != view.step, 0)
        memory["clock"].copy_(view.step)
        nothing = torch.zeros_like(view.reach)
        drop, modify, delay = nothing, nothing, torch.zeros_like(view.reach, dtype=torch.int64)
        change = torch.zeros(*nothing.shape, view.width, device=nothing.device)
        for number, member in enumerate(self.members):
            shown = self._shown(view, number, acting == number)
            edits = member.on_messages(shown)
            wanted = (edits.drop, edits.modify, None if edits.delay is None else edits.delay > 0)
            dropped, modified, delayed = self._granted(shown, [nothing if w is None else w for w in wanted], memory)
            drop, modify = drop | dropped, modify | modified
            if edits.change is not None:
                change = torch.where(modified.unsqueeze(-1), edits.change, change)
            if edits.delay is not None:
                delay = torch.where(delayed, edits.delay, delay)
        return MessageEdits(
            drop=drop if "drop" in self._powers else None,
            modify=modify if "modify" in self._powers else None,
            change=change if "modify" in self._powers else None,
            delay=delay if self._powers & {"delay", "reorder"} else None,
        )

    def _draw(self, view: MessageView) -> Tensor:
        """[B] int64, the number of each world's member, drawn at the first exchange of its episode."""
        chance, spared = view.rand(len(view.step)), self.config.spared
        drawn = ((chance - spared) / (1 - spared) * len(self.members)).long().clamp(max=len(self.members) - 1)
        drawn = drawn.masked_fill(chance < spared, NOBODY)
        member = view.memory["member"]
        member.copy_(torch.where(member == UNDRAWN, drawn, member))
        return member

    def _shown(self, view: MessageView, number: int, mine: Tensor) -> MessageView:
        """What a member sees: messages on its links in its worlds ([B] bool), its own memory and what it has left."""
        threat, agents = self.threats[number], self.team_shape.num_agents
        receiver = torch.arange(agents, device=mine.device).view(1, -1, 1)
        on_path = self._links[number][receiver, view.sender.clamp(0, agents - 1)]
        reach = view.reach & mine.view(-1, 1, 1) & on_path
        granted: dict[str, Any] = {}
        if "read" in threat.powers:
            granted.update({name: torch.where(reach, view.granted[name], -1) for name in HEADER})
        if granted:
            granted["payload"] = view.payload.masked_fill(~reach.unsqueeze(-1), 0.0)
        if threat.knowledge in ("policy", "defense") and view.shows("predict_logits"):
            there = reach.unsqueeze(-1)
            granted["predict_logits"] = lambda change: view.predict_logits(change * there)
        budget, left = threat.budget, view.remaining
        for limit, spent in ((budget.per_episode, "spent"), (budget.per_step, "spent_now")):
            if limit is not None:
                left = torch.minimum(left, limit - view.memory[spent])
        left = left.masked_fill(~mine | (view.step < budget.start_step), 0)
        own = {name.partition(" ")[2]: value for name, value in view.memory.items() if name.startswith(f"{number} ")}
        return replace(view, threat=threat, reach=reach, remaining=left, memory=own, granted=granted)

    def _granted(self, shown: MessageView, wanted: list[Tensor], memory: dict[str, Tensor]) -> list[Tensor]:
        """The edits [B, N, M] bool that a member may make with what it has left, in their order; they are counted."""
        every = torch.stack([(each & shown.reach).flatten(1) for each in wanted], 1).flatten(1)
        granted = every & (every.cumsum(1) <= shown.remaining.unsqueeze(1))
        for account in ("spent", "spent_now"):
            memory[account].add_(granted.sum(1))
        return list(granted.view(len(granted), len(wanted), *shown.reach.shape[1:]).unbind(1))


def _member(choice: Choice, team_shape: TeamShape) -> Attack:
    """A member.

    Raises:
        ValueError: If it does anything besides attacks on messages, or makes its control itself.
    """
    plugin: type[Attack] = registry.find("attack", choice.name)
    if hooks(plugin) != {"on_messages"} or plugin.own_control or plugin is Population:
        raise ValueError(
            f"member {choice.label!r} does more than attack messages: choose attacks such as noise or drop"
        )
    return plugin(build("attack", choice), team_shape)


def _links(position: Position, agents: int) -> Tensor:
    """[N, N] bool, the links of a position, by receiver and sender."""
    links = torch.full((agents, agents), position.links is None)
    for sender, receiver in position.links or ():
        links[receiver, sender] = True
    return links
