"""The command ``play``: what it says on its way, and when it is stopped."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
import torch
from small import untrained
from typer.testing import CliRunner

from agentcomm.base.errors import ProtocolError
from agentcomm.cli.main import app
from agentcomm.protocols.team import play as team_play
from agentcomm.protocols.team.play import TeamEpisode
from agentcomm.protocols.team.processes import AgentProcesses


def playing(
    monkeypatch: pytest.MonkeyPatch, tmp_path: Path, finished: int, raised: BaseException | None, *words: str
) -> Any:
    """The result of the command, whose processes finish some episodes and then end in an error."""

    def episode(seed: int) -> TeamEpisode:
        return TeamEpisode(seed, 4, True, 1.0, torch.zeros(4, 3), 12)

    def processes(run: Any, saved: Any, protocol: str, seeds: range, sampled: bool, *others: Any) -> None:
        tell, begun, patience = others
        assert patience == 30
        begun()
        for seed in seeds[:finished]:
            tell(episode(seed))
        if raised is not None:
            raise raised

    monkeypatch.setattr(team_play, "play_in_processes", processes)
    monkeypatch.setattr(team_play, "play_in_batch", lambda saved, seed, sampled: episode(seed))
    run: Callable[..., Any] = CliRunner().invoke
    folder = untrained(tmp_path, "name=plain").path
    return run(app, ["play", str(folder), "--timeout", "30", *words], standalone_mode=False)


def test_ctrl_c_shows_the_finished_episodes(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    result = playing(monkeypatch, tmp_path, 2, KeyboardInterrupt(), "--episodes", "9", "--first-seed", "50")
    assert "Stopped by Ctrl-C after 2 of 9 episodes: the table has them; the one under way is lost." in result.output
    assert "No files are written, and all processes of agents have ended." in result.output
    assert "50" in result.output
    assert "51" in result.output
    assert result.return_value == 130


def test_an_error_shows_the_finished_episodes_too(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    result = playing(monkeypatch, tmp_path, 0, ProtocolError("agent 1: gone"), "--episodes", "9")
    assert isinstance(result.exception, ProtocolError)
    assert "Ended by an error after 0 of 9 episodes: nothing was finished." in result.output


def test_a_whole_play_says_nothing_of_an_end(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    result = playing(monkeypatch, tmp_path, 2, None, "--episodes", "2")
    assert "agents are up; 2 episodes to play." in result.output
    assert "after" not in result.output


def test_agents_that_do_not_start_in_time_are_counted(tmp_path: Path) -> None:
    """One real process, which is still importing."""
    processes = AgentProcesses(tmp_path, 0, 3, "a2a", bytes(32), 0.01)
    with pytest.raises(ProtocolError, match=r"within 0\.01 s; 0 of 3 did; on a busy machine, .* --timeout"):
        processes.__enter__()
    assert processes._process.poll() is not None
