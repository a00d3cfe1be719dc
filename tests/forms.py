"""What the tests cross: every form of attack, one form of each kind, and defenses."""

from __future__ import annotations

from collections.abc import Iterable
from functools import cache
from itertools import product
from typing import Any, NamedTuple

import torch

from agentcomm.base import registry
from agentcomm.contracts.attack import Attack, Hook, hooks
from agentcomm.contracts.defense import Defense, DefenseHook, defense_hooks
from agentcomm.contracts.shape import TeamShape
from agentcomm.contracts.threat_model import Power

Plugin = tuple[str, dict[str, Any]]


@cache
def attack_forms() -> dict[str, Plugin]:
    """Every registered attack in each of its forms: name and arguments."""
    return registry.forms("attack")


class Kind(NamedTuple):
    """What a guard sees of an attack. Attacks of one kind differ in what they ask for, not in what becomes of it."""

    hooks: frozenset[Hook]
    position: str
    spreads: bool
    powers: frozenset[Power]
    reads_policy: bool
    needs_fragmentation: bool


@cache
def kind(form: str) -> Kind:
    """The kind of a form of attack."""
    name, arguments = attack_forms()[form]
    plugin: type[Attack] = registry.find("attack", name)
    shape = TeamShape(2, 4, 2, 8, 2, torch.device("cpu"))
    threat = plugin(registry.build_config("attack", name, arguments), shape).threat_model()
    return Kind(
        hooks(plugin),
        threat.position.kind,
        threat.position.spreads,
        threat.powers,
        threat.knowledge == "policy",
        plugin.needs_fragmentation,
    )


def one_of_each_kind(forms: Iterable[str]) -> tuple[str, ...]:
    """The first form of each kind."""
    first: dict[Kind, str] = {}
    for form in forms:
        first.setdefault(kind(form), form)
    return tuple(first.values())


class DefenseKind(NamedTuple):
    """What a network sees of a defense. Defenses of one kind differ in what they decide, not in what becomes of it."""

    hooks: frozenset[DefenseHook]
    order: str
    draws: bool
    refuses: bool
    changes_payloads: bool


def one_defense_of_each_kind() -> tuple[str, ...]:
    """The first form of each kind, but for those that act on a directory alone."""
    first: dict[DefenseKind, str] = {}
    for form, (name, _) in registry.forms("defense").items():
        plugin: type[Defense] = registry.find("defense", name)
        found = defense_hooks(plugin)
        if found != {"on_directory"}:
            what = DefenseKind(found, plugin.order, plugin.draws, plugin.refuses, plugin.changes_payloads)
            first.setdefault(what, form)
    return tuple(first.values())


def _edits(form: str) -> bool:
    """Whether it does something to messages on any path: those on fragments need a channel that cuts messages."""
    k = kind(form)
    return "on_messages" in k.hooks and not k.needs_fragmentation and bool(k.powers - {"read"})


DIRECTORY_FORMS = tuple(form for form in attack_forms() if kind(form).hooks == {"on_directory"})
TEAM_FORMS = tuple(form for form in attack_forms() if form not in DIRECTORY_FORMS)
MESSAGE_FORMS = tuple(form for form in TEAM_FORMS if _edits(form))
KINDS = one_of_each_kind(MESSAGE_FORMS)
# Those that agents which act in turns can be under: gradients need a policy whose agents act all at once.
IN_TURNS = tuple(form for form in KINDS if not kind(form).reads_policy)
# Those that only take messages away.
MISSING = tuple(form for form in MESSAGE_FORMS if kind(form).powers - {"read"} == {"drop"})

STACKS: dict[str, list[Plugin]] = {
    "none": [],
    "clip": [("clip", {})],
    "authenticate": [("authenticate", {})],
    "both": [("clip", {}), ("authenticate", {})],
}


@cache
def defenses(form: str) -> list[Plugin]:
    """The plug-ins of a stack, or the one defense of that form."""
    return STACKS[form] if form in STACKS else [registry.forms("defense")[form]]


# Those that do not act on a directory alone, one of each kind. Conformance checks every form.
TEAM_DEFENSES = one_defense_of_each_kind()
# What is crossed wherever a property depends on what an attack does to messages: each kind under both defenses, and
# one attack under each kind of defense.
PAIRS = [*product(KINDS, ("both",)), *(("impersonate", form) for form in TEAM_DEFENSES)]
