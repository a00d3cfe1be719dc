"""The progress bar."""

from __future__ import annotations

from typing import Any

import pytest

from agentcomm.cli.screen import Bar, training_progress


@pytest.mark.parametrize(
    ("row", "note"),
    [
        ({"env_steps": 10, "env_steps_per_second": 1500.0, "episode_length": 4.0}, "1.5k steps/s length 4.0"),
        ({"env_steps": 10}, ""),  # no number of this iteration was finite
    ],
)
def test_the_bar_shows_what_a_row_has(row: dict[str, Any], note: str) -> None:
    bar = Bar(training_progress())
    bar.progress.disable = True
    bar.team("team-0", 0, 100)
    bar.iteration(row)
    (task,) = bar.progress.tasks
    assert (task.completed, task.fields["note"]) == (10, note)
    bar.progress.stop()
