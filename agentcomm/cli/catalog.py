"""The output of ``agentcomm list``: plug-ins, risks and countermeasures as plain values and as tables."""

from __future__ import annotations

import inspect
import re
import shlex
import sys
from collections.abc import Sequence
from typing import Any

from rich.console import Group, RenderableType
from rich.padding import Padding
from rich.table import Table
from rich.text import Text

from agentcomm.base.countermeasures import COUNTERMEASURES
from agentcomm.base.fields import form
from agentcomm.base.registry import Axis, find, loadable, registered_modules
from agentcomm.base.risks import RISKS
from agentcomm.runs.choices import as_yaml

# What a defense takes and costs.
DECLARED = (
    *("needs_seal", "needs_identity", "history", "latency", "fails_open", "lossless", "changes_payloads"),
    *("reads_originals", "differentiable", "draws", "in_training"),
)


def page(axis: Axis, name: str) -> str:
    """A plug-in's documentation.

    The docstring of a module with one plug-in documents it; where several share a module, their own docstrings do.
    """
    plugin = find(axis, name)
    shared = sum(other.__module__ == plugin.__module__ for other in loadable(axis).values()) > 1
    text = (None if shared else sys.modules[plugin.__module__].__doc__) or plugin.__doc__ or ""
    return inspect.cleandoc(text).removeprefix(f"{plugin.name}: ")


def summary(axis: Axis, name: str) -> str:
    """The first sentence of a plug-in's documentation, in one line."""
    paragraph = _plain(page(axis, name)).partition("\n\n")[0].replace("\n", " ")
    return paragraph.partition(". ")[0].removesuffix(".")


def describe(axis: Axis, name: str) -> dict[str, Any]:
    """A plug-in as plain values: name, summary, version, arguments and what is specific to its axis."""
    plugin = find(axis, name)
    name = plugin.name
    about: dict[str, Any] = {
        "name": name,
        "axis": axis,
        "summary": summary(axis, name),
        "description": page(axis, name),
        "version": plugin.version,
        "arguments": [
            {
                "name": field,
                "default": _default(info),
                "description": info.description or "",
                "accepts": form(info.annotation, info.metadata),
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
        about |= {name: list(getattr(plugin, name)) for name in ("answers", "adaptive")}
    if axis == "metric":
        about |= {name: getattr(plugin, name) for name in ("group", "unit", "better", "source")}
    return about


def risks() -> list[dict[str, Any]]:
    """Every risk as plain values, with the attacks that realize it."""
    attacks = {name: attack.risks for name, attack in loadable("attack").items()}
    return [
        {"id": risk, "definition": about.definition, "owasp": list(about.owasp)}
        | {"attacks": [name for name, carried in attacks.items() if risk in carried], "absent": about.absent}
        for risk, about in RISKS.items()
    ]


def countermeasures() -> list[dict[str, Any]]:
    """Every defense that the survey names as plain values, with the plug-ins that carry it out."""
    defenses = {name: defense.answers for name, defense in loadable("defense").items()}
    return [
        {"id": measure, "definition": about.definition, "against": list(about.against)}
        | {"defenses": [name for name, answers in defenses.items() if measure in answers], "absent": about.absent}
        for measure, about in COUNTERMEASURES.items()
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
    return _plainly(info.get_default(call_default_factory=True))


def _plainly(value: Any) -> Any:
    """A default as plain values."""
    if isinstance(value, tuple):
        return [_plainly(item) for item in value]
    return value.model_dump(mode="json", exclude_defaults=True) if hasattr(value, "model_dump") else value


def overview(found: dict[str, list[str]]) -> Group:
    """The names of all plug-ins, by axis; over the whole width, so that they fit a screen."""
    return Group(*(Text.assemble((axis, "bold"), " ", " ".join(names_) or "none") for axis, names_ in found.items()))


def plugin_table(axis: str, found: list[dict[str, Any]]) -> Table:
    """A table of the plug-ins of an axis, one line each; of metrics a second one with group, unit and source."""
    table = Table(title=axis, title_justify="left", box=None, padding=(0, 2, 0, 0), expand=True)
    table.add_column(
        "name", no_wrap=True, style="bold", min_width=max((len(plugin["name"]) for plugin in found), default=4)
    )
    table.add_column("description", no_wrap=True, overflow="ellipsis", ratio=1)
    for plugin in found:
        below = _metric_text(plugin).replace("\n", "; ").removeprefix("; ")
        text = Text(plugin["summary"])
        table.add_row(Text(plugin["name"]), text.append(f"\n{below}", style="dim") if below else text)
    return table


def details(about: dict[str, Any]) -> RenderableType:
    """Everything about one plug-in: what it does, its arguments, its threat model or costs, and how to use it."""
    parts: list[RenderableType] = [
        Text.assemble((about["name"], "bold"), f" ({about['axis']}, version {about['version']})"),
        Text(""),
        Text(_plain(about["description"])),
        Text(""),
    ]
    if extra := (_threat_text(about) + _defense_text(about) + _metric_text(about)).strip():
        parts += [Text(extra), Text("")]
    for argument in about["arguments"]:
        default = argument["default"]
        shown = "required" if default == "required" else f"default {_shown(default)}"
        parts.append(Text.assemble((argument["name"], "bold"), f": {argument['accepts']}; {shown}"))
        parts.append(Padding(Text(argument["description"]), (0, 0, 0, 4)))
    parts += [Text("no arguments")] if not about["arguments"] else []
    return Group(*parts)


def example(axis: Axis, name: str, modules: Sequence[str] = ()) -> str:
    """A command that uses a plug-in, with arguments under which it has a visible effect.

    Args:
        axis: The plug-in's axis.
        name: Its name.
        modules: Modules given by the user; the command names them if a module registers the plug-in.
    """
    modules = modules if find(axis, name).__module__ in registered_modules() else ()
    imports = "".join(f" --plugins {shlex.quote(module)}" for module in modules)
    arguments = find(axis, name).forms().get("", {})
    given = ",".join(f"{key}={as_yaml(value)}" for key, value in arguments.items())
    text = f"{name}:{given}" if given else name
    quoted = shlex.quote(text)
    if axis in ("environment", "policy"):
        option = "--env" if axis == "environment" else "--policy"
        return f"agentcomm init mine {option} {quoted}{imports}"
    if axis == "topology":
        keys = [f"policy.topology.{key}={as_yaml(value)}" for key, value in arguments.items()]
        keys += [f"plugins={as_yaml(list(modules))}"] if modules else []
        return shlex.join(["agentcomm", "train", "mine.yaml", f"policy.topology={name}", *keys])
    if axis == "metric":
        return "agentcomm evaluate runs/mine  # cells have every metric that applies to them"
    return f"agentcomm evaluate runs/mine --{axis} {quoted}{imports}"


def _plain(page: str) -> str:
    """A docstring without the marks of reStructuredText, one line per paragraph."""
    page = re.sub(r"(?<=\S)\n(?=[^\s*-])", " ", page)
    return re.sub(r":\w+:`~?([^`]*)`", r"\1", page).replace("``", "")


def survey_table(title: str, found: list[dict[str, Any]], carried: str) -> Table:
    """A table of risks or countermeasures, with the plug-ins under the key ``carried`` that carry them out."""
    table = Table(title=title, title_justify="left")
    for column in ("id", "definition", carried):
        table.add_column(column, overflow="fold")
    for about in found:
        table.add_row(about["id"], about["definition"], ", ".join(about[carried]) or f"none: {about['absent']}")
    return table


def _shown(value: Any) -> str:
    """A default as users write it."""
    if value is None:
        return "none"
    return f"{value:.4g}" if isinstance(value, float) else as_yaml(list(value) if isinstance(value, tuple) else value)


def _threat_text(plugin: dict[str, Any]) -> str:
    """An attack's threat model and risks; empty for other plug-ins."""
    threat = plugin.get("threat")
    lines = [f"risks: {', '.join(plugin['risks'])}"] if plugin.get("risks") else []
    if threat is not None:
        place = ", ".join(
            f"{key}={as_yaml(value)}"
            for key, value in threat["position"].items()
            if key != "kind" and value is not False
        )
        budget = ", ".join(f"{key}={as_yaml(value)}" for key, value in threat["budget"].items() if value)
        lines = [
            f"position: {threat['position']['kind']}{f' ({place})' if place else ''}",
            f"powers: {', '.join(threat['powers']) or 'none'}; knows: {threat['knowledge']}",
            f"objective: {threat['objective']}; budget: {budget or 'no limit'}",
            *lines,
        ]
    return "".join(f"\n{line}" for line in lines)


def _metric_text(plugin: dict[str, Any]) -> str:
    """A metric's group, unit, direction and source; nothing for other plug-ins."""
    if "unit" not in plugin:
        return ""
    source = f"\nsource: {plugin['source']}" if plugin["source"] else ""
    unit = f"unit: {plugin['unit']}; " if plugin["unit"] else ""
    return f"\ngroup: {plugin['group']}; {unit}better: {plugin['better']}{source}"


def _defense_text(plugin: dict[str, Any]) -> str:
    """What a defense judges, takes and costs, in a line; nothing for other plug-ins."""
    if "hooks" not in plugin:
        return ""
    parts = [f"{', '.join(plugin['hooks'])}; {plugin['order']}"]
    history = plugin["history"]
    parts += ["needs seals"] if plugin["needs_seal"] else []
    parts += ["needs authenticated senders"] if plugin["needs_identity"] else []
    parts += ["needs payloads as they arrived"] if plugin["reads_originals"] else []
    parts += [] if history == 0 else [f"remembers {'an episode' if history is None else f'{history} steps'}"]
    parts += [f"delays by {plugin['latency']} steps"] if plugin["latency"] else []
    parts += [] if plugin["lossless"] else ["changes clean messages"]
    parts += ["random"] if plugin["draws"] else []
    parts += [] if plugin["in_training"] else ["not in training"]
    parts += ["fails open" if plugin["fails_open"] else "fails closed"]
    answers = f"\nanswers: {', '.join(plugin['answers'])}" if plugin["answers"] else ""
    tested = ", ".join(plugin["adaptive"]) or "none: not tested"
    return f"\n{'; '.join(parts)}{answers}\nattacks that know it: {tested}"
