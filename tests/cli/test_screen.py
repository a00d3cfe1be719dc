"""The progress bar; and what commands print is shown as it is, whatever a label contains."""

from __future__ import annotations

import io
import unicodedata
from typing import Any

import pytest
from rich.text import Text
from typer.testing import CliRunner

from agentcomm.cli import screen, tables
from agentcomm.cli.main import app
from agentcomm.progress import training_bar

EVIL = "[bold red]x[/] :smile: \x1b[31mred\x1b]0;title\x07 \u202erev [/not closed] \\[ \x9b2J"


@pytest.mark.parametrize("terminal", [False, True])
def test_labels_and_errors_cannot_speak_to_the_terminal(monkeypatch: pytest.MonkeyPatch, terminal: bool) -> None:
    out = io.StringIO()
    for name in ("console", "errors"):
        console = screen.PlainConsole(file=out, force_terminal=terminal, width=500)
        monkeypatch.setattr(screen, name, console)
    metrics = dict.fromkeys(("mean_steps", "success", "mean_return"), 1.0)
    row: dict[str, Any] = {"attack": {"label": EVIL}, "defense_label": EVIL, "status": "ok", "variant": "team"}
    row |= {"metrics": metrics, "decisions": "greedy", "conditions_label": EVIL, "effect": {"success": 1.0}}
    screen.console.print(tables.cells([row]))
    screen.console.print(tables.success([row]))
    screen.say(EVIL)
    screen.complain(EVIL)
    said = out.getvalue()
    shown = r"[bold red]x[/] :smile: \u001b[31mred\u001b]0;title\u0007 \u202erev [/not closed] \[ \u009b2J"
    assert said.count(shown) >= 5
    for evil in ("\x1b[31mred", "\x1b]", "\x07", "\u202e", "\x9b"):
        assert evil not in said


@pytest.mark.parametrize(
    ("row", "note"),
    [
        ({"env_steps": 10, "env_steps_per_second": 1500.0, "episode_length": 4.0}, "1.5k steps/s length 4.0"),
        ({"env_steps": 10}, ""),  # no number of this iteration was finite
    ],
)
def test_the_bar_shows_what_a_row_has(row: dict[str, Any], note: str) -> None:
    with training_bar(True) as bar:
        assert bar is not None
        bar.team("team-0", 0, 100)
        bar.iteration("team-0", row)
        (task,) = bar.progress.tasks
        assert (task.completed, task.fields["note"]) == (10, note)


def test_help_takes_no_word_between_colons_for_an_emoji(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("COLUMNS", "300")
    commands = ["", *(command.name or "" for command in app.registered_commands)]
    pages = {name: CliRunner().invoke(app, [*([name] if name else []), "--help"]).output for name in commands}
    assert "gymnasium:PACKAGE:ID" in pages["train"]
    symbols = [letter for page in pages.values() for letter in page if unicodedata.category(letter) == "So"]
    assert not [letter for letter in symbols if not "\u2500" <= letter <= "\u257f"], "only the frames of rich"
    assert "\N{PACKAGE}" in Text.from_markup(":package:").plain, "elsewhere, rich is as it was"
