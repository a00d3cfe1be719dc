"""Cells evaluated over protocols: the same rows as in the batch, and nothing is left behind."""

from __future__ import annotations

import shutil
import sys
import threading
from pathlib import Path
from typing import Any

import pytest
from installing import install
from small import small, untrained

from agentcomm import api
from agentcomm.base import transports
from agentcomm.base.errors import AgentcommError

TINY = ("environment.max_steps=2", "evaluation.episodes=2", "evaluation.recordings=0")


def plain(row: dict[str, Any]) -> dict[str, Any]:
    """What a row says of its episodes."""
    return {name: row[name] for name in ("status", "metrics", "ledger", "attack", "defenses")}


def test_rows_over_protocols_are_those_of_the_batch(tmp_path: Path) -> None:
    run = untrained(tmp_path, *TINY)
    threads = threading.active_count()
    carriers = ["batch", "a2a", "mcp"]
    under = {"transports": [{"carrier": carrier} for carrier in carriers[1:]]}
    rows = api.evaluate(run, ["replay:age=1"], ["authenticate"], under, progress=False)
    assert threading.active_count() == threads
    team = [row for row in rows if row["variant"] == "team"]
    by_carrier = {
        carrier: [plain(r) for r in team if r["conditions"].get("transport", {}).get("carrier", "batch") == carrier]
        for carrier in carriers
    }
    assert any(row["attack"] for row in by_carrier["a2a"])
    assert sum(row["ledger"]["sent"] for row in by_carrier["a2a"]) > 0
    for carrier in carriers[1:]:
        assert len(by_carrier[carrier]) == len(by_carrier["batch"])
        for row, other in zip(by_carrier[carrier], by_carrier["batch"], strict=True):
            assert row == other
    assert len({row["id"] for row in rows}) == len(rows), "the carrier is part of a cell's id"


def test_an_unknown_carrier_is_named() -> None:
    with pytest.raises(AgentcommError, match=r"carrier.*did you mean 'a2a'"):
        small("transport.carrier=a2b")


def test_packages_announce_transports(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    package = tmp_path / "pigeons"
    package.mkdir()
    (package / "pigeons.py").write_text("from agentcomm.network.transports.objects import ObjectTransport as Pigeon\n")
    (package / "pyproject.toml").write_text(
        "[project]\nname = 'pigeons'\nversion = '1'\n[project.entry-points.'agentcomm.transports']\n"
        "pigeon = 'pigeons:Pigeon'\nbatch = 'pigeons:Pigeon'\nbroken = 'no_pigeons:Pigeon'\n"
        "[tool.setuptools]\npy-modules = ['pigeons']\n"
    )
    install(package, tmp_path / "site")
    shutil.rmtree(package)
    monkeypatch.syspath_prepend(tmp_path / "site")
    transports._announced.cache_clear()
    try:
        assert {"pigeon", "broken", "pigeons/batch"} <= set(transports.names())
        assert transports.find("batch").__name__ == "BatchTransport", "the testbed's own keep their names"
        assert transports.find("pigeon").__name__ == "ObjectTransport"
        assert small("transport.carrier=pigeon").transport.label == "carrier pigeon"
        with pytest.raises(AgentcommError, match=r"transport 'broken' \(no_pigeons:Pigeon\) cannot be imported"):
            transports.find("broken")
    finally:
        monkeypatch.undo()
        sys.modules.pop("pigeons", None)
        transports._announced.cache_clear()
