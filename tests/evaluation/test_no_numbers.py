"""A cell in which a plug-in fails is recorded as failed, the error blames that plug-in, and the other cells go on."""

from __future__ import annotations

import math
from pathlib import Path
from typing import Any

import pytest
import torch
from small import untrained

from agentcomm import api
from agentcomm.base import registry
from agentcomm.base.errors import HookError, NumberError
from agentcomm.conformance.metrics import some_episodes
from agentcomm.contracts.attack import Attack, AttackConfig
from agentcomm.contracts.edits import MessageEdits
from agentcomm.contracts.metric import Metric
from agentcomm.contracts.threat_model import Position, ThreatModel
from agentcomm.evaluation.metrics import measure
from agentcomm.runs.folder import Run


@pytest.fixture
def run(tmp_path: Path) -> Run:
    """An untrained team and its control."""
    return untrained(tmp_path)


class Endless(Attack):
    """Succeeds to a degree that is no number."""

    name = "endless"
    Config = AttackConfig

    def threat_model(self) -> ThreatModel:
        return ThreatModel(Position(kind="edge"), frozenset())

    def on_messages(self, view: Any) -> MessageEdits:
        return MessageEdits()

    def succeeded(self, attacked: Any, clean: Any) -> Any:
        return torch.full((len(attacked.length),), math.nan)


def test_success_that_is_no_number(run: Run, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(api, "check_used", lambda *_: None)
    monkeypatch.setitem(registry._registered, ("attack", "endless"), Endless)
    rows = api.evaluate(run, ["endless"], [])
    failed = [row for row in rows if row["status"] == "failed"]
    (error,) = [row["error"] for row in failed]
    assert error.startswith("HookError: attack 'endless': what succeeded returns must be torch.bool (16,)")


@pytest.mark.parametrize(
    ("value", "error", "text"),
    [
        (math.nan, NumberError, "metric 'mine' is nan"),
        ("many", HookError, "metric 'mine': value must return a number or None, not str"),
        (torch.ones(2), HookError, "metric 'mine': value must return a number or None, not Tensor"),
        (ZeroDivisionError("no steps"), HookError, "metric 'mine' failed in value: ZeroDivisionError: no steps"),
    ],
)
def test_metrics_are_numbers(monkeypatch: pytest.MonkeyPatch, value: Any, error: type[Exception], text: str) -> None:
    class Mine(Metric):
        name = "mine"

        def value(self, episodes: Any) -> Any:
            if isinstance(value, Exception):
                raise value
            return value

    monkeypatch.setitem(registry._registered, ("metric", "mine"), Mine)
    with pytest.raises(error, match=text):
        measure(some_episodes(3))
