"""The output of ``agentcomm list``: plug-ins and risks as plain values and as tables."""

from __future__ import annotations

import sys
from typing import Any

from rich.table import Table

from agentcomm.base.registry import Axis, find, names
from agentcomm.base.risks import RISKS

DECLARED = ("needs_seal", "history", "latency", "fails_open", "lossless")  # what a defense takes and costs


def describe(axis: Axis, name: str) -> dict[str, Any]:
    """A plug-in as plain values: name, summary, version, arguments and what is specific to its axis."""
    plugin = find(axis, name)
    # The docstring of a module with one plug-in documents it; where several share a module, their own docstrings do.
    shared = sum(find(axis, other).__module__ == plugin.__module__ for other in names(axis)) > 1
    page = (None if shared else sys.modules[plugin.__module__].__doc__) or plugin.__doc__ or ""
    schema = plugin.Config.model_json_schema()
    summary = page.strip().partition("\n")[0].removeprefix(f"{name}: ")
    about: dict[str, Any] = {
        "name": name,
        "summary": summary,
        "version": plugin.version,
        "arguments": [
            {
                "name": field,
                "default": _default(info),
                "description": info.description or "",
                "type": schema["properties"][field].get("type", ""),
                "choices": schema["properties"][field].get("enum", []),
            }
            for field, info in plugin.Config.model_fields.items()
        ],
    }
    if axis == "attack":
        about |= {"risks": list(plugin.risks), "threat": _threat(plugin)}
    if axis == "defense":
        from agentcomm.contracts.defense import defense_hooks  # not before it is needed: torch takes a second

        about |= {"hooks": sorted(defense_hooks(plugin)), "order": plugin.order}
        about |= {name: getattr(plugin, name) for name in DECLARED}
    if axis == "metric":
        about |= {"unit": plugin.unit, "better": plugin.better}
    return about


def risks() -> list[dict[str, Any]]:
    """Every risk as plain values, with the attacks that realize it."""
    attacks = {name: find("attack", name).risks for name in names("attack")}
    return [
        {"id": risk, "definition": about.definition, "owasp": list(about.owasp)}
        | {"attacks": [name for name, carried in attacks.items() if risk in carried], "absent": about.absent}
        for risk, about in RISKS.items()
    ]


def _threat(attack: Any) -> dict[str, Any] | None:
    """Threat model with default arguments in a small team; None for an attack that has required arguments."""
    import torch  # imported late, since it takes a second

    from agentcomm.contracts.shape import TeamShape

    config = (
        attack.Config.model_construct()
    )  # without validation, since a required file does not change the threat model
    try:
        threat = attack(config, TeamShape(1, 4, 2, 8, 1, torch.device("cpu"))).threat_model()
    except (AttributeError, ValueError):
        return None
    return {
        "position": threat.position.model_dump(mode="json", exclude_none=True),
        "powers": sorted(threat.powers),
        "knowledge": threat.knowledge,
        "objective": threat.objective,
        "budget": threat.budget.model_dump(mode="json", exclude_none=True),
    }


def _default(info: Any) -> Any:
    if info.is_required():
        return "required"
    value = info.get_default(call_default_factory=True)
    return value.model_dump(mode="json", exclude_none=True) if hasattr(value, "model_dump") else value


def plugin_table(axis: str, found: list[dict[str, Any]]) -> Table:
    """A table of the plug-ins of an axis."""
    table = Table(title=axis, title_justify="left", show_lines=False)
    for column in ("name", "description", "arguments"):
        table.add_column(column, overflow="fold")
    for plugin in found:
        arguments = ", ".join(
            f"{a['name']}={_shown(a['default'])}" + (f" of {'|'.join(map(str, a['choices']))}" if a["choices"] else "")
            for a in plugin["arguments"]
        )
        table.add_row(plugin["name"], plugin["summary"] + _threat_text(plugin) + _defense_text(plugin), arguments)
    return table


def risk_table(found: list[dict[str, Any]]) -> Table:
    """A table of all risks with the attacks that realize them."""
    table = Table(title="risks", title_justify="left")
    for column in ("id", "definition", "attacks"):
        table.add_column(column, overflow="fold")
    for about in found:
        table.add_row(about["id"], about["definition"], ", ".join(about["attacks"]) or f"none: {about['absent']}")
    return table


def _shown(value: Any) -> str:
    """A default in short form: few digits, and ``none`` for None."""
    if value is None:
        return "none"
    return f"{value:.4g}" if isinstance(value, float) else str(value)


def _threat_text(plugin: dict[str, Any]) -> str:
    """An attack's threat model and risks, in two lines; empty for other plug-ins."""
    threat = plugin.get("threat")
    lines = [", ".join(plugin["risks"])] if plugin.get("risks") else []
    if threat is not None:
        may = ", ".join(threat["powers"]) or "nothing"
        lines.insert(0, f"{threat['position']['kind']}: {may}; knows {threat['knowledge']}")
    return "".join(f"\n{line}" for line in lines)


def _defense_text(plugin: dict[str, Any]) -> str:
    """What a defense judges, takes and costs, in a line; nothing for other plug-ins."""
    if "hooks" not in plugin:
        return ""
    parts = [f"{', '.join(plugin['hooks'])}; {plugin['order']}"]
    history = plugin["history"]
    parts += ["needs seals"] if plugin["needs_seal"] else []
    parts += [] if history == 0 else [f"remembers {'an episode' if history is None else f'{history} steps'}"]
    parts += [f"delays by {plugin['latency']} steps"] if plugin["latency"] else []
    parts += [] if plugin["lossless"] else ["changes clean messages"]
    parts += ["fails open" if plugin["fails_open"] else "fails closed"]
    return f"\n{'; '.join(parts)}"
