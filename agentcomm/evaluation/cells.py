"""Cells of the evaluation grid: attack x defense x conditions x seed."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, replace

from agentcomm.base.errors import RunError
from agentcomm.base.registry import find
from agentcomm.runs.choices import Choice, TransportConfig, canonical
from agentcomm.runs.conditions import PLAIN_CONDITIONS, Conditions
from agentcomm.runs.config import Variant
from agentcomm.runs.folder import Run

Group = tuple[Choice, ...]


@dataclass(frozen=True)
class Cell:
    """One cell to evaluate."""

    variant: Variant
    seed: int
    attack: Choice | None
    defenses: Group
    episodes: int
    episode_seed: int
    conditions: Conditions = PLAIN_CONDITIONS

    def canonical(self, environment: Choice) -> Cell:
        """The same cell in its one spelling; cells with equal results by definition have equal ids.

        Args:
            environment: The environment of training.

        Raises:
            AgentcommError: If a plug-in is unknown or an argument is invalid.
        """
        return replace(
            self,
            attack=None if self.attack is None else canonical("attack", self.attack),
            defenses=tuple(canonical("defense", defense) for defense in self.defenses),
            conditions=self.conditions.canonical(environment),
        )

    @property
    def attack_label(self) -> str:
        """The attack by name, or ``none``."""
        return "none" if self.attack is None else self.attack.label

    @property
    def defense_label(self) -> str:
        """The defenses by name, or ``none``."""
        return "+".join(d.label for d in self.defenses) or "none"

    @property
    def id(self) -> str:
        """Identifier of the cell; what its results depend on besides is its ``identity`` (evaluation/identity.py)."""
        team, stages = f"{self.variant}-{self.seed}", f"{self.attack_label}|{self.defense_label}"
        parts = [team, stages, f"{self.episodes}@{self.episode_seed}", self.conditions.label()]
        return "|".join(part for part in parts if part)


def plan(
    run: Run,
    attacks: Sequence[Choice],
    defenses: Sequence[Group],
    conditions: Sequence[Conditions],
    adaptive: bool = False,
) -> list[Cell]:
    """All cells of a grid over the trained teams.

    The control sends no messages: it is evaluated without attacks and gate control, and with the run's own transport
    only. Attacks on fragments are skipped under conditions without fragmentation, unless none of the conditions has
    it: then :func:`agentcomm.runs.assembly.make_comms` reports what is missing.

    Args:
        run: The run.
        attacks: Attacks, each by itself, besides no attack.
        defenses: Groups of defenses used together, besides no defense.
        conditions: Conditions of the cells.
        adaptive: Whether to add, for each group of defenses, the attacks that these declare as aimed at them.

    Raises:
        RunError: If no team is trained.
    """
    trained = run.trained()
    if not trained:
        raise RunError(f"{run.path} has no trained team yet; run `agentcomm train {run.path / 'config.yaml'} --resume`")
    own, environment = run.config.transport.canonical(), run.config.environment
    conditions = [under.canonical(environment) for under in conditions]
    groups = [(), *(group for group in defenses if group)]
    fitting = {attack.label: [c for c in conditions if _works(attack, c.transport)] for attack in attacks}
    settings = run.config.evaluation
    cells: list[Cell] = []
    for variant, seed in trained:
        for under in conditions:
            if variant == "control" and (under.gates is not None or under.transport != own):
                continue
            pairs: list[tuple[Choice | None, Group]] = [(None, ())]
            if variant == "team" and under.crossed:
                able = [a for a in attacks if under in fitting[a.label] or not fitting[a.label]]
                pairs = [(attack, group) for attack in (None, *able) for group in groups]
                pairs += [(attack, group) for group in groups if adaptive for attack in aimed_at(group)]
            made = [Cell(variant, seed, *pair, settings.episodes, settings.seed, under) for pair in pairs]
            cells += [cell.canonical(environment) for cell in made]
    return list({cell.id: cell for cell in cells}.values())


def aimed_at(group: Group) -> list[Choice]:
    """The attacks that defenses declare as aimed at them (``Defense.adaptive``), in their one spelling.

    Raises:
        AgentcommError: If one of them is unknown or has invalid arguments.
    """
    texts = [text for defense in group for text in find("defense", defense.name).adaptive]
    return [canonical("attack", Choice.parse(text)) for text in dict.fromkeys(texts)]


def is_aimed(cell: Cell) -> bool:
    """Whether the attack of a cell is aimed at one of its defenses."""
    return cell.attack is not None and canonical("attack", cell.attack) in aimed_at(cell.defenses)


def _works(attack: Choice, transport: TransportConfig) -> bool:
    """Whether an attack can act with a transport: attacks on fragments need a channel that fragments messages."""
    if not find("attack", attack.name).needs_fragmentation:
        return True
    return any(find("channel", channel.name).fragments_messages for channel in transport.channels)
