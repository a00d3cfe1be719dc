"""Cells share their episodes, are kept as they finish, and are resumed from what is there."""

from __future__ import annotations

import json
import os
import shutil
from pathlib import Path

import pytest
import torch
from builders import team
from small import small, untrained

from agentcomm import api
from agentcomm.base import registry
from agentcomm.base.errors import AgentcommError, ConfigError, RunError
from agentcomm.cli import tables
from agentcomm.contracts.attack import Attack, AttackConfig
from agentcomm.contracts.edits import MessageEdits
from agentcomm.contracts.threat_model import Position, ThreatModel
from agentcomm.contracts.topology import Graph
from agentcomm.contracts.views import MessageView
from agentcomm.evaluation import row as rows_of_cells
from agentcomm.evaluation.metrics import measure
from agentcomm.evaluation.play import play
from agentcomm.runs import policy_file
from agentcomm.runs.assembly import make_comms, make_world
from agentcomm.runs.choices import Choice
from agentcomm.runs.conditions import Conditions
from agentcomm.runs.folder import Run, create
from agentcomm.runs.rows import CellRow


@pytest.fixture
def run(tmp_path: Path) -> Run:
    """Untrained teams of two seeds and their controls."""
    return untrained(tmp_path, "seeds=[0, 1]")


@pytest.fixture
def small_run(tmp_path: Path) -> Run:
    """The same of one seed, for what has nothing to do with seeds."""
    return untrained(tmp_path)


def test_the_grid_is_attack_by_defense_by_seed_and_a_clean_control(run: Run) -> None:
    rows = api.evaluate(run, ["drop", "noise"], ["clip", "authenticate+clip"])
    assert len(rows) == 2 * (3 * 3 + 1)
    assert len({row["id"] for row in rows}) == len(rows)
    assert {row["defense_label"] for row in rows} == {"none", "clip", "authenticate+clip"}
    assert all(row["attack"] is None for row in rows if row["variant"] == "control")
    assert [json.loads(line) for line in run.cells.read_text().splitlines()] == rows
    clean = next(r for r in rows if r["variant"] == "team" and r["attack"] is None and r["defense_label"] == "none")
    dropped = next(r for r in rows if r["attack"] and r["attack"]["name"] == "drop" and r["defense_label"] == "none")
    assert clean["ledger"]["accepted"] == clean["ledger"]["sent"] > 0
    assert dropped["ledger"]["accepted"] == 0
    assert dropped["attack"]["threat"]["powers"] == ["drop"]
    control = next(r for r in rows if r["variant"] == "control")
    assert control["ledger"]["sent"] == 0


def test_every_attack_is_held_against_its_counterparts(run: Run) -> None:
    saved = policy_file.load(run.policy("team", 0))
    torch.manual_seed(0)
    for parameter in saved.policy.get_submodule("actor").parameters():
        parameter.data += 0.5 * torch.randn(parameter.shape)  # untrained, it hardly minds what it hears
    shutil.rmtree(run.policy("team", 0))
    policy_file.save(run.policy("team", 0), saved.policy, saved.environment, saved.choice, "team", 0, {})
    rows = api.evaluate(run, ["tamper:how=bias", "impersonate"], [], conditions={"decisions": "sampled"})
    by_attack = {row["attack"]["name"]: row for row in rows if row["attack"] and row["seed"] == 0}
    clean = next(r for r in rows if r["attack"] is None and r["variant"] == "team" and r["seed"] == 0)
    assert clean["outcome"] is None
    for row in by_attack.values():
        parts, effect = row["counterparts"], row["effect"]
        assert parts["clean"]["metrics"] == clean["metrics"]
        assert parts["clean"]["spent"] == {"edits": 0, "messages": 0, "bytes": 0, "norm": None}
        assert effect["success"] == pytest.approx(effect["worse"] - effect["better"])
        assert effect["damage"] == pytest.approx(row["metrics"]["mean_steps"] - clean["metrics"]["mean_steps"])
        assert row["outcome"] in ("success", "resisted")
        CellRow.model_validate(row)
    changed, forged = by_attack["tamper"], by_attack["impersonate"]
    assert changed["counterparts"]["control"]["metrics"] != changed["metrics"], "it has another direction"
    norms = changed["spent"]["norm"], changed["counterparts"]["control"]["spent"]["norm"]
    assert norms == pytest.approx((2.0 * 16**0.5,) * 2), "a bias of 2 in each of 16 entries, in another direction"
    assert changed["counterparts"]["silence"]["ledger"]["dropped"] > 0
    assert changed["effect"]["lie"] == pytest.approx(changed["effect"]["damage"] - changed["effect"]["silence"])
    assert "silence" not in forged["counterparts"], "it touches no message of the team"
    assert forged["spent"]["bytes"] > 0
    table = tables.success(rows)
    assert table.row_count == 2


def test_an_attack_on_fragments_is_evaluated_where_messages_are_cut_only(small_run: Run) -> None:
    with pytest.raises(ConfigError, match="fragments"):
        api.evaluate(small_run, ["fragment"], [])
    rows = api.evaluate(
        small_run, ["fragment"], [], conditions={"transports": [{"channels": [{"name": "fragments", "mtu": 64}]}]}
    )
    attacked = [row for row in rows if row["attack"]]
    assert {row["conditions_label"] for row in attacked} == {"fragments(mtu=64)"}
    assert {row["status"] for row in attacked} == {"ok"}
    assert any(row["conditions_label"] == "" for row in rows), "the plain transport is evaluated clean"


def test_decisions_may_be_sampled(run: Run) -> None:
    greedy, sampled = (
        api.evaluate(run, ["covert:node=1"], [], conditions={"decisions": d}) for d in ("greedy", "sampled")
    )
    assert {row["decisions"] for row in sampled} == {"sampled"}
    assert {row["status"] for row in greedy if row["attack"]} == {"inconclusive"}, (
        "greedy teams have no choice to hide in"
    )
    told = [row["attack"]["actions"]["bits"] for row in sampled if row["attack"]]
    assert min(told) > 0.5
    assert api.evaluate(run, ["covert:node=1"], [], conditions={"decisions": "sampled"}) == sampled, (
        "kept, not evaluated again"
    )


def test_finished_cells_are_not_evaluated_again(small_run: Run) -> None:
    first = api.evaluate(small_run, ["drop"], [])
    seen: list[str] = []
    again = api.evaluate(small_run, ["drop", "noise"], [], watch=lambda cell, done, total: seen.append(cell.id))
    assert (
        len(small_run.cells.read_text().splitlines()) == len(again) == len(set(seen))
    )  # a slow cell is told of several times
    assert [r for r in again if r in first] == first


def test_a_torn_line_is_evaluated_again(small_run: Run) -> None:
    rows = api.evaluate(small_run, ["drop"], [])
    text = small_run.cells.read_text()
    small_run.cells.write_text(text[:-40])
    again = api.evaluate(small_run, ["drop"], [])
    for old, new in zip(rows, again, strict=True):
        assert (old["id"], old["metrics"], old["ledger"]) == (new["id"], new["metrics"], new["ledger"])
    assert api.evaluate(small_run, ["drop"], []) == again


def test_attack_and_clean_share_their_episodes(run: Run) -> None:
    saved = policy_file.load(run.policy("team", 0))
    lengths = []
    for attack in ((), (Choice(name="drop", probability=0.0),), (Choice(name="noise", budget={"per_episode": 0}),)):
        world = make_world(saved.environment, 64)
        played = play(world, saved.policy, make_comms(world, saved.policy, attack), seed=5)
        lengths.append((played.length, played.total_reward))
    for length, reward in lengths[1:]:
        assert torch.equal(length, lengths[0][0])
        assert torch.equal(reward, lengths[0][1])


def test_every_world_plays_its_one_episode_to_the_end(run: Run) -> None:
    saved = policy_file.load(run.policy("team", 0))
    world = make_world(saved.environment, 64)
    played = play(world, saved.policy, make_comms(world, saved.policy), seed=5, record=2)
    assert played.length.min() >= 1
    assert bool((played.success | (played.length == world.max_steps)).all())
    assert [len(frames) for frames in played.frames] == [int(n) + 1 for n in played.length[:2]]
    first = played.frames[0][0]
    assert len(first["agents"]) == 3
    assert all(m["fate"] == "delivered" and m["accepted"] for m in first["messages"])
    assert measure(played)["messages_per_step"] == pytest.approx(
        int(played.messages["sent"].sum()) / int(played.length.sum())
    )


class _Broken(Attack):
    Config = AttackConfig
    name = "broken"

    def threat_model(self) -> ThreatModel:
        return ThreatModel(Position(kind="edge"), frozenset())

    def on_messages(self, view: MessageView) -> MessageEdits:
        raise ZeroDivisionError("inside the attack")


def test_an_error_makes_a_cell_failed_and_no_number(small_run: Run, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setitem(registry._registered, ("attack", "broken"), _Broken)
    monkeypatch.setattr(api, "check_used", lambda *given: None)  # the quick check would stop before any cell
    rows = api.evaluate(small_run, ["broken", "drop"], [])
    broken = [r for r in rows if r["attack"] and r["attack"]["name"] == "broken"]
    assert all(r["status"] == "failed" and "metrics" not in r and "inside the attack" in r["error"] for r in broken)
    assert all(r["status"] == "ok" for r in rows if r not in broken)


def test_an_attack_that_touched_nothing_is_inconclusive(small_run: Run) -> None:
    rows = api.evaluate(small_run, ["drop:budget.per_episode=0"], [])
    assert {r["status"] for r in rows if r["attack"]} == {"inconclusive"}


def test_misfits_are_told_before_anything_runs(run: Run) -> None:
    with pytest.raises(AgentcommError, match=r"node=7.*team of 3"):
        api.evaluate(run, ["drop", "noise:position=node,node=7"], [])
    assert not run.cells.exists()
    with pytest.raises(AgentcommError, match="did you mean 'drop'"):
        api.evaluate(run, ["dropp"], [])


def test_nothing_trained_is_said(tmp_path: Path) -> None:
    with pytest.raises(RunError, match=r"no trained team yet.*agentcomm train"):
        api.evaluate(create(small(), tmp_path), [], [])


def test_only_one_process_writes(run: Run) -> None:
    with run.lock(), pytest.raises(RunError, match=rf"another process \(process {os.getpid()}\)"):
        api.evaluate(run.path, [], [])


def test_recordings_hold_the_same_scenes_for_every_cell(small_run: Run) -> None:
    api.evaluate(small_run, ["drop"], ["clip"])
    recorded = json.loads((small_run.path / "episodes.json").read_text())
    assert [e["label"] for e in recorded["episodes"]] == ["clean", "clean + clip", "drop", "drop + clip"]
    starts = [e["steps"][0]["agents"] for e in recorded["episodes"]]
    assert all(start == starts[0] for start in starts)
    assert recorded["kinds"] == ["perception", "perception", "capture"]
    frame = recorded["episodes"][0]["steps"][0]
    assert len(frame["observations"]) == len(frame["facts"]["row"]) == 3
    assert frame["altered"] == [False] * 3
    assert all(m["age"] == 0 and (m["refused_by"] is None) == m["accepted"] for m in frame["messages"])


def test_changed_environments_and_controlled_gates(run: Run) -> None:
    asked = {"environments": [{"failure": 0.2}, {"max_steps": 4}], "gates": ["open", "closed", "random"]}
    rows = api.evaluate(run, ["drop"], [], asked)
    assert len(rows) == 2 * (1 + 2 * 3 + 3), "per seed: an attack, team and control in 3 environments, 3 gate controls"
    under = {(row["variant"], row["conditions_label"]): row for row in rows if row["seed"] == 1 and not row["attack"]}
    assert all(row["status"] == "ok" for row in rows)
    assert under["team", "max_steps=4"]["metrics"]["mean_steps"] <= 4
    assert under["team", "gates open"]["metrics"]["gate_open"] == 1
    closed = under["team", "gates closed"]["metrics"]
    assert closed["gate_open"] == closed["messages_per_step"] == 0
    own, random = (under["team", label]["metrics"]["gate_open"] for label in ("", "gates random"))
    assert abs(own - random) < 0.15
    assert under["team", "gates random"] in api.evaluate(run, [], [], {"gates": ["random"]}), "kept"


@pytest.mark.parametrize(
    ("conditions", "words"),
    [
        ({"environments": [{"predatorz": 3}]}, "predatorz: unknown key"),
        ({"gates": ["ajar"]}, "gates.*open, closed or random.*ajar"),
        ({"gate": ["open"]}, "gate: unknown key; did you mean 'gates'"),
        ({"device": "cuda:31"}, "device 'cuda:31' cannot be used"),
        ({"transports": [{"codec": {"name": "int8"}, "carrier": "objects"}]}, "int8.*float32 payloads only"),
        # A team with one logit per edge cannot be another size.
        ({"environments": [{"perception_agents": 3}]}, "embedded"),
    ],
)
def test_conditions_that_do_not_fit_are_named_before_anything_runs(
    run: Run, conditions: dict[str, object], words: str
) -> None:
    with pytest.raises(ConfigError, match=words):
        api.evaluate(run, [], [], conditions)
    assert not run.cells.exists()


def test_the_recorded_graph_has_the_links_that_are_kept() -> None:
    _, policy = team(1, topology={"name": "full"})
    source = policy.topology.graph(None, 1).source
    kept = torch.zeros_like(source, dtype=torch.bool)
    kept[0, 1, 0] = True
    policy.topology.graph = lambda draw, worlds, hidden=None: Graph(source, kept)  # type: ignore[method-assign]
    rows = rows_of_cells.executed_graph(policy)
    assert sum(map(sum, rows)) == 1
    assert rows[1][int(source[0, 1, 0])] == 1


def test_the_environments_name_is_no_condition() -> None:
    with pytest.raises(ConfigError, match="'name' cannot be changed"):
        Conditions(environment={"name": "oracle_hint"}).check(Choice(name="predator_prey"))
