"""What a trained policy's details say of how it was trained, and which signal stops training."""

from __future__ import annotations

import json
import os
import signal
from pathlib import Path

from agentcomm.training.stopping import stop_on_signal
from agentcomm.training.team import _history


def test_details_cover_all_processes_that_trained_a_team(tmp_path: Path) -> None:
    rows = [
        {"iteration": 1, "threads": 2},
        {"iteration": 2, "threads": 2, "runner_restarts": 1},
        {"iteration": 3, "threads": 8},
        {"iteration": 4, "threads": 8, "runner_restarts": 2},
    ]
    path = tmp_path / "progress.jsonl"
    about = {"env_steps": 128, "seconds": 1.0}
    path.write_text("".join(json.dumps(row | about) + "\n" for row in rows), encoding="utf-8")
    assert _history(path) == {"threads": [[1, 2], [3, 8]], "runner_restarts": 3}


def test_the_signal_that_stops_training_is_known() -> None:
    before = signal.getsignal(signal.SIGTERM)
    with stop_on_signal() as stopping:
        assert stopping() == 0
        os.kill(os.getpid(), signal.SIGTERM)
        assert stopping() == signal.SIGTERM
        assert signal.getsignal(signal.SIGTERM) == before  # a second one acts as usual
    assert signal.getsignal(signal.SIGTERM) == before
