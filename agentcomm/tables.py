"""Tables that commands print."""

from __future__ import annotations

from typing import Any

from rich.table import Table


def cells(rows: list[dict[str, Any]]) -> Table:
    """Mean steps by attack and defense, mean over seeds; the control stands in a row of its own."""
    found: dict[tuple[str, str], list[dict[str, Any]]] = {}
    for row in rows:
        attack = "no attack" if row["attack"] is None else row["attack"]["label"]
        if row.get("world") or row.get("gates"):
            attack = row["world"] or f"gates {row['gates']}"
        if row.get("path_label") is not None:
            attack = f"{row['path_label'] or 'plain path'}: {attack}"
        if row["variant"] == "control":
            how = "" if row["status"] == "failed" or row["decisions"] == "greedy" else ", sampled actions"
            attack = f"no messages (control{how})" + (f", {row['world']}" if row.get("world") else "")
        found.setdefault((attack, row["defense_label"]), []).append(row)
    columns = list(dict.fromkeys(defense for _, defense in found))
    lengths = {r["metrics"]["mean_steps"] for r in rows if r["status"] != "failed"}
    shown = "mean_return" if len(lengths) <= 1 < len(rows) else "mean_steps"  # episodes may all be equally long
    table = Table(title=f"{shown.replace('_', ' ')} (success), mean over seeds")
    table.add_column("attack", overflow="fold")
    for column in columns:
        table.add_column(column if column != "none" else "no defense", justify="right", overflow="fold")
    for attack in dict.fromkeys(attack for attack, _ in found):
        cells = []
        for column in columns:
            group = found.get((attack, column), [])
            good = [r["metrics"] for r in group if r["status"] != "failed"]
            text = "" if not group else "failed"
            if good:
                steps, success = (sum(m[k] for m in good) / len(good) for k in (shown, "success"))
                text = f"{steps:.2f} ({success:.2f})"
            if any(r["status"] == "inconclusive" for r in group):
                text += " inconclusive"
            cells.append(text)
        table.add_row(attack, *cells)
    return table


def success(rows: list[dict[str, Any]]) -> Table:
    """How often each attack succeeded by its own predicate, and how often its no-op control did."""
    found: dict[tuple[str, str], list[dict[str, Any]]] = {}
    for row in rows:
        if row["attack"] is not None and row["status"] != "failed" and "attack_success" in row["metrics"]:
            found.setdefault((row["attack"]["label"], row["defense_label"]), []).append(row["metrics"])
    table = Table(
        title="attack success, mean over seeds",
        caption="share of episodes in which the attack got what it wanted: by default, that the team earned less"
        " than in the same episode without it. Its no-op control does as much, with content that harms nobody;"
        " the difference is the attack's doing.",
    )
    for column in ("attack", "defense", "succeeded", "its no-op control"):
        table.add_column(column, justify="left" if column in ("attack", "defense") else "right", overflow="fold")
    for (attack, defense), group in found.items():
        rates = [f"{sum(m[k] for m in group) / len(group):.2f}" for k in ("attack_success", "control_success")]
        table.add_row(attack, defense, *rates)
    return table


def plugins(axis: str, found: list[dict[str, Any]]) -> Table:
    """What there is on an axis."""
    table = Table(title=axis, title_justify="left", show_lines=False)
    for column in ("name", "what it is", "arguments"):
        table.add_column(column, overflow="fold")
    for plugin in found:
        arguments = ", ".join(
            f"{a['name']}={_shown(a['default'])}" + (f" of {'|'.join(map(str, a['choices']))}" if a["choices"] else "")
            for a in plugin["arguments"]
        )
        table.add_row(plugin["name"], plugin["summary"] + _threat(plugin), arguments)
    return table


def risks(found: list[dict[str, Any]]) -> Table:
    """Every risk with the attacks that carry it out."""
    table = Table(title="risks", title_justify="left")
    for column in ("id", "what goes wrong", "attacks"):
        table.add_column(column, overflow="fold")
    for about in found:
        table.add_row(about["id"], about["definition"], ", ".join(about["attacks"]) or f"none: {about['absent']}")
    return table


def _shown(value: Any) -> str:
    """A default for people: few digits, and ``none`` for nothing."""
    if value is None:
        return "none"
    return f"{value:.4g}" if isinstance(value, float) else str(value)


def _threat(plugin: dict[str, Any]) -> str:
    """An attack's threat model and risks, in two lines; nothing for other plug-ins."""
    threat = plugin.get("threat")
    lines = [", ".join(plugin["risks"])] if plugin.get("risks") else []
    if threat is not None:
        may = ", ".join(threat["powers"]) or "nothing"
        lines.insert(0, f"{threat['position']['kind']}: {may}; knows {threat['knowledge']}")
    return "".join(f"\n{line}" for line in lines)
