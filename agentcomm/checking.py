"""Checks of the plug-ins of other distributions before they are used, and why their cells are refused."""

from __future__ import annotations

from collections.abc import Sequence
from typing import TYPE_CHECKING

from agentcomm.base.errors import AgentcommError
from agentcomm.base.log import warn_once
from agentcomm.base.plugin import foreign
from agentcomm.base.registry import Axis, find, loadable, problems
from agentcomm.contracts.topology import TopologyChoice
from agentcomm.runs.choices import Choice, TransportConfig, build
from agentcomm.runs.config import RunConfig

if TYPE_CHECKING:
    from agentcomm.evaluation.cells import Cell


def check_used(
    config: RunConfig,
    attacks: Sequence[Choice],
    defenses: Sequence[Choice],
    transports: Sequence[TransportConfig],
) -> None:
    """Run the quick conformance checks of plug-ins from outside this distribution.

    Metrics are used without being asked for: those that cannot be loaded are left out, which is logged.

    Raises:
        AgentcommError: If one of them breaks its contract.
    """
    chosen: list[tuple[Axis, Choice]] = [("environment", config.environment), ("policy", config.policy)]
    chosen += [("attack", attack) for attack in attacks] + [("defense", defense) for defense in defenses]
    for transport in transports:
        chosen += [("channel", channel) for channel in transport.channels]
        chosen += [] if transport.codec is None else [("codec", transport.codec)]
    used = [find(axis, choice.name) for axis, choice in chosen] + [*loadable("metric").values()]
    warn_once(problems(["metric"]))
    parts = [value for _, value in build("policy", config.policy)]
    used += [find("topology", part.name) for part in parts if isinstance(part, TopologyChoice)]
    if not any(map(foreign, used)):
        return  # importing the checks takes longer than deciding that none is needed
    from agentcomm.conformance.quick import check_foreign

    check_foreign(config.environment, config.policy, attacks, defenses, transports)


def refusal(config: RunConfig, known: dict[str, str], cell: Cell) -> str | None:
    """What is wrong with the plug-ins of a cell; ``known`` keeps what was found, by plug-in, empty for nothing."""
    parts: dict[str, tuple[list[Choice], list[Choice], list[TransportConfig]]] = {
        f"defense {defense.label}": ([], [defense], []) for defense in cell.defenses
    }
    if cell.attack is not None:
        parts[f"attack {cell.attack.label}"] = ([cell.attack], [], [])
    parts[cell.conditions.transport.model_dump_json()] = ([], [], [cell.conditions.transport])
    for name, part in parts.items():
        if name not in known:
            try:
                check_used(config, *part)
                known[name] = ""
            except AgentcommError as error:
                known[name] = f"{type(error).__name__}: {error}"
    return next((known[name] for name in parts if known[name]), None)
