"""Transports of messages, from the config through training and evaluation to the page."""

from __future__ import annotations

from pathlib import Path

import pytest
from small import small

from agentcomm import api
from agentcomm.base.errors import AgentcommError
from agentcomm.runs.choices import Choice, TransportConfig

PATH = {
    "channels": [{"name": "loss", "probability": 0.2}, {"name": "delay", "seconds": 0.05, "jitter": 0.1}],
    "codec": {"name": "int8"},
}


@pytest.mark.ray
@pytest.mark.usefixtures("ray_running")
def test_a_team_is_trained_and_evaluated_on_a_path(tmp_path: Path) -> None:
    named = {"channels": [{"name": "loss"}]}
    config = small(
        transport=PATH,
        policy={"name": "commformer", "width": 16, "message_noise": {}, "decoder": "autoregressive"},
        evaluation={"episodes": 16, "recordings": 1, "transports": [named]},
    )
    run = api.train(config, root=tmp_path)
    other = TransportConfig(
        channels=(Choice.parse("profile:network=5g"),), codec=Choice(name="delta"), step_seconds=0.02
    )
    rows = api.evaluate(run, ["noise"], ["authenticate:window=8"], {"transports": [TransportConfig(), other, named]})
    assert all(row["status"] in ("ok", "inconclusive") for row in rows), [row["error"] for row in rows]
    home, plain, far = (
        next(r for r in rows if r["variant"] == "team" and r["conditions_label"] == label and r["attack"] is None)
        for label in ("", "plain transport", "profile(network=5g)+delta+0.02 s per step")
    )
    assert home["ledger"]["lost"] > 0
    assert home["metrics"]["latency_ms"] > 50
    for ledger in (row["ledger"] for row in rows):
        gone = sum(ledger[fate] for fate in ("dropped", "lost", "late", "refused", "accepted"))
        assert gone == ledger["sent"] + ledger["forged"] + ledger["replayed"], "every message has one end"
    assert plain["ledger"]["lost"] == 0
    assert "latency_ms" not in plain["metrics"]
    assert plain["metrics"]["bytes_per_step"] > far["metrics"]["bytes_per_step"] > 0
    page = api.report(run).read_text(encoding="utf-8")
    assert "plain transport" in page
    assert "profile(network=5g)+delta+0.02 s per step" in page
    again = " --step-seconds 0.02 --channel &#39;profile(network=5g)&#39; --codec delta --attack noise --defense"
    assert again in page
    assert "--channel loss" not in page, "the config names that path itself"


def test_unknown_stages_of_a_path_are_named() -> None:
    with pytest.raises(AgentcommError, match="unknown channel 'los'; did you mean 'loss'"):
        small(transport={"channels": [{"name": "los"}]})
    with pytest.raises(AgentcommError, match="probability"):
        small(transport={"channels": [{"name": "loss", "probability": 2}]})
    with pytest.raises(AgentcommError, match="unknown codec 'int9'"):
        small(evaluation={"episodes": 4, "transports": [{"codec": {"name": "int9"}}]})
