"""Training in a log: lines at sensible intervals, with an estimate of what is left."""

from __future__ import annotations

import io

from rich.console import Console
from rich.progress import Progress

from agentcomm.progress import EpisodeLines, TrainingBar, TrainingLines


def test_lines_come_every_half_minute_and_at_the_end() -> None:
    said: list[str] = []
    now = [0.0]
    lines = TrainingLines(said.append, lambda: now[0])
    lines.team("team-0", 0, 1_000_000)
    for step in range(1, 101):  # 1,000 s: 1,000 steps a second
        now[0] = 10.0 * step
        lines.iteration("team-0", {"env_steps": 10_000 * step, "success": 0.25})
    assert said[0] == "team-0: 0 of 1,000,000 env steps"
    assert said[1] == (
        "team-0: 30,000 of 1,000,000 env steps (3%), 1.0k steps/s, about 16 min 10 s left for this team, success 0.25"
    )
    assert said[-1] == "team-0: 1,000,000 of 1,000,000 env steps (100%), 1.0k steps/s, success 0.25"
    assert len(said) == 1 + 33 + 1


def test_the_rate_of_a_resumed_team_counts_what_it_does_now() -> None:
    said: list[str] = []
    now = [0.0]
    lines = TrainingLines(said.append, lambda: now[0])
    lines.team("team-0", 900_000, 10_900_000)
    now[0] = 100.0
    lines.iteration("team-0", {"env_steps": 1_000_000, "success": None})
    assert said[1].endswith("(9%), 1.0k steps/s, about 2 h 45 min left for this team")


def test_episodes_are_counted_every_half_minute_with_an_estimate() -> None:
    said: list[str] = []
    now = [5.0]
    lines = EpisodeLines(said.append, 10, lambda: now[0])
    for _ in range(10):
        now[0] += 20.0
        lines.episode()
    assert said == [
        "2 of 10 episodes done (20%), about 2 min 40 s left",
        "4 of 10 episodes done (40%), about 2 min 0 s left",
        "6 of 10 episodes done (60%), about 1 min 20 s left",
        "8 of 10 episodes done (80%), about 40 s left",
    ]


def test_teams_side_by_side_share_a_line_with_an_estimate_for_all() -> None:
    said: list[str] = []
    now = [0.0]
    lines = TrainingLines(said.append, lambda: now[0])
    lines.begin({"team-0": 0, "team-1": 50_000, "team-2": 0}, 100_000)
    now[0] = 600.0  # processes start
    lines.team("team-0", 0, 100_000)
    lines.team("team-1", 50_000, 100_000)
    for step in range(1, 6):  # 1,000 steps a second of both together
        now[0] = 600.0 + 20.0 * step
        lines.iteration("team-0", {"env_steps": 10_000 * step})
        lines.iteration("team-1", {"env_steps": 50_000 + 10_000 * step, "success": 0.5})
    assert said[2] == "team-0 20%, team-1 60%, 0.8k steps/s, about 4 min 53 s left for all"
    assert said[-1].startswith("team-1: 100,000 of 100,000 env steps (100%), 0.5k steps/s, success 0.50, about")
    lines.team("team-0", 0, 100_000)  # its process was lost, and it had no checkpoint
    now[0] = 740.0
    lines.iteration("team-0", {"env_steps": 10_000})
    assert "about 4 min" in said[-1], "what is trained again counts as work, not as progress"


def test_a_lost_process_is_said_at_once() -> None:
    said: list[str] = []
    lines = TrainingLines(said.append)
    lines.lost("team-0", "its process was killed")
    assert said == ["team-0: its process was killed"]
    console = Console(record=True, width=20, file=io.StringIO())
    TrainingBar(Progress(console=console)).lost("team-0", "its process [7] was killed\x1b")
    assert console.export_text() == "team-0: its process [7] was killed\\u001b\n"
