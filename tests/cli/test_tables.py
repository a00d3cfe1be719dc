"""Tables of evaluated cells."""

from __future__ import annotations

from typing import Any

from rich.console import Console

from agentcomm.cli import tables


def row(conditions: str | None, succeeded: float) -> dict[str, Any]:
    metrics, effect = {"mean_steps": 10.0, "success": 0.5}, {"success": succeeded, "damage": 3.5, "silence": None}
    about = {"attack": {"label": "drop"}, "defense_label": "none", "conditions_label": conditions, "variant": "team"}
    return about | {"status": "ok", "decisions": "greedy", "metrics": metrics, "effect": effect}


def text(table: Any) -> str:
    console = Console(width=160)
    with console.capture() as capture:
        console.print(table)
    return capture.get()


def test_success_is_not_averaged_over_conditions() -> None:
    said = text(tables.success([row(None, 0.1), row(None, 0.3), row("loss(probability=1)", 0.9)]))
    lines = [line for line in said.splitlines() if "drop" in line and "│" in line]
    assert len(lines) == 2
    assert "0.20" in lines[0]
    assert "loss(probability=1): drop" in lines[1]
    assert "0.90" in lines[1]


def test_the_value_of_communication_stands_beside_what_attacks_leave_of_it() -> None:
    def row(steps: float, attack: str | None = None, variant: str = "team") -> dict[str, Any]:
        about = None if attack is None else {"label": attack}
        plain = {"variant": variant, "seed": 0, "defense_label": "none", "status": "ok", "attack": about}
        return plain | {"metrics": {"mean_steps": steps}, "score": {"metric": "mean_steps", "better": "lower"}}

    table = tables.suites([row(5), row(15, variant="control"), row(10, "noise"), row(20, "drop")])
    assert table is not None
    assert [next(iter(column.cells)) for column in table.columns] == [
        "none",
        "10.00",
        "",
        "",
        "",
    ]  # one seed establishes no value, so no share
    assert tables.suites([row(5), row(10, "noise")]) is None
