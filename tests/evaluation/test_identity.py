"""A cell is what it computed: one spelling of each, evaluated again when anything that it depends on changes."""

from __future__ import annotations

import importlib
import json
import sys
from pathlib import Path

import pytest
from small import small

from agentcomm import api
from agentcomm.base import registry, source
from agentcomm.base.modules import permit
from agentcomm.base.registry import AXES, forms
from agentcomm.evaluation import identity
from agentcomm.evaluation.cells import Cell
from agentcomm.pettingzoo.adapter import ParallelWorldConfig
from agentcomm.report.load import load_run as load
from agentcomm.runs import policy_file
from agentcomm.runs.assembly import make_policy, make_world
from agentcomm.runs.choices import Choice, TransportConfig, build, canonical
from agentcomm.runs.conditions import Conditions
from agentcomm.runs.folder import Run, create

ATTACK = """
import helping
from agentcomm.contracts.attack import Attack, AttackConfig
from agentcomm.contracts.edits import MessageEdits
from agentcomm.contracts.threat_model import Position, ThreatModel

class Mine(Attack[AttackConfig]):
    version = "1"
    risks = ("ua.l1.integrity",)

    def threat_model(self):
        return ThreatModel(Position(kind="edge"), frozenset({"read", "drop"}), "none", self.config.budget)

    def on_messages(self, view):
        return MessageEdits(drop=view.reach & (view.step.view(-1, 1, 1) >= helping.FIRST))
"""


@pytest.fixture
def run(tmp_path: Path) -> Run:
    """An untrained team, saved as a trained one."""
    run = create(small("control=false"), tmp_path)
    config = run.config
    policy = make_policy(config.policy, make_world(config.environment, 1))
    policy_file.save(run.policy("team", 0), policy, config.environment, config.policy, "team", 0, {})
    return run


def rows_of(run: Run) -> list[dict[str, object]]:
    return [json.loads(line) for line in run.cells.read_text().splitlines()]


SPELLINGS = ("drop", "drop:probability=1", "drop:probability=1.0", "drop:probability=1e0", "agentcomm/drop")


def test_one_attack_in_five_spellings_is_one_cell(run: Run) -> None:
    rows = api.evaluate(run, SPELLINGS, ["clip", "agentcomm/clip"])
    assert [row["id"].split("|")[1:3] for row in rows] == [
        ["none", "none"],
        ["none", "clip"],
        ["drop", "none"],
        ["drop", "clip"],
    ]
    assert api.messages(run, attack="drop:probability=1.0") == api.messages(run, attack="drop") != []


def test_conditions_that_change_nothing_are_the_usual_ones() -> None:
    environment = Choice.parse("predator_capture_prey:max_steps=5")
    plain = Conditions(environment={"max_steps": 5.0, "failure": 0})
    assert plain.canonical(environment) == Conditions().canonical(environment)
    changed = Conditions(environment={"failure": "1e-1", "max_steps": 20}).canonical(environment)
    assert changed.environment == {"max_steps": 20, "failure": 0.1}, "20 is a default, but not what was trained"
    delays = [{"channels": [{"name": name, "seconds": s}]} for name, s in (("delay", 0.1), ("agentcomm/delay", "0.10"))]
    first, second = (Conditions(transport=TransportConfig.model_validate(d)).canonical(environment) for d in delays)
    assert first == second


@pytest.mark.parametrize("axis", AXES)
def test_the_one_spelling_has_the_same_arguments(axis: registry.Axis) -> None:
    for name, arguments in forms(axis).values():
        choice = Choice.model_validate({"name": name} | arguments)
        short = canonical(axis, choice)
        assert build(axis, short) == build(axis, choice), (name, arguments)
        assert canonical(axis, short) == short
        if axis in ("attack", "defense", "channel", "codec"):
            assert canonical(axis, Choice.parse(short.label)) == short, short.label


def test_a_changed_plugin_is_evaluated_again_and_its_old_row_is_kept(
    run: Run, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    (tmp_path / "helping.py").write_text("FIRST = 3\n")
    (tmp_path / "mine.py").write_text(ATTACK)
    monkeypatch.syspath_prepend(tmp_path)

    def evaluate() -> list[dict[str, object]]:
        for name in ("mine", "helping"):
            sys.modules.pop(name, None)
        importlib.invalidate_caches()
        monkeypatch.setitem(registry._registered, ("attack", "mine"), importlib.import_module("mine").Mine)
        return api.evaluate(run, ["mine"], [])

    clean, first = evaluate()
    assert evaluate() == [clean, first], "nothing has changed"
    (tmp_path / "helping.py").write_text("FIRST = 0\n")
    kept, second = evaluate()
    assert kept == clean
    assert first["ledger"] != second["ledger"]
    assert second["replaces"] == "attack 'mine' changed"
    assert rows_of(run) == [clean, first | {"stale": "attack 'mine' changed"}, second]
    (tmp_path / "mine.py").write_text(ATTACK.replace('version = "1"', 'version = "2"'))
    assert evaluate()[1]["attack"]["version"] == "2"  # type: ignore[index]
    data = load(run.path)
    assert [cell["id"] for cell in data.cells] == [clean["id"], first["id"]]
    assert not any("left out" in note for note in data.notes), "they have been evaluated again"


def test_files_weights_and_core_are_part_of_the_identity(
    run: Run, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    trace = tmp_path / "trace.csv"
    trace.write_text("seconds,latency_ms,loss\n0,10,0\n1,20,0\n")
    transport = TransportConfig.model_validate({"channels": [{"name": "trace", "file": str(trace)}]})
    cell = Cell("team", 0, Choice(name="drop"), (), 8, 0, Conditions(transport=transport))

    def now() -> identity.Identity:
        return identity.Identities(run).of(cell)

    before = now()
    assert not identity.differences(before, now())
    trace.write_text("seconds,latency_ms,loss\n0,10,0\n1,90,0\n")
    assert identity.differences(before, now()) == f"{trace} changed"
    before = now()
    config = run.config
    policy = make_policy(config.policy, make_world(config.environment, 1), "team", 7)
    policy_file.save(run.policy("team", 0), policy, config.environment, config.policy, "team", 0, {})
    assert identity.differences(before, now()) == "the team's policy changed"
    before = now()
    monkeypatch.setattr(identity, "core_hash", lambda: "another")
    assert identity.differences(before, now()) == "agentcomm changed"


def test_code_of_third_party_environments_is_part_of_the_identity(
    run: Run, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    (tmp_path / "lantern.py").write_text("def make(): return 1\n")
    monkeypatch.syspath_prepend(tmp_path)
    monkeypatch.setattr(registry.find("environment", "predator_capture_prey").Config, "code", lambda self: ["lantern"])
    permit(["lantern"])
    cell = Cell("team", 0, None, (), 8, 0)
    before = identity.Identities(run).of(cell)
    (tmp_path / "lantern.py").write_text("def make(): return 2\n")
    assert identity.differences(before, identity.Identities(run).of(cell)) == "module 'lantern' changed"
    sys.modules.pop("lantern")
    assert ParallelWorldConfig(make="lantern:make").code() == ["lantern"]


def test_overrides_of_mappings_keep_the_other_keys() -> None:
    trained = Choice(name="zoo", arguments={"doors": 4, "horizon": 6})
    assert trained.changed({"arguments": {"leave": 0.5, "doors": 2}}).arguments == {
        "arguments": {"doors": 2, "horizon": 6, "leave": 0.5}
    }


def test_rows_of_older_versions_are_left_out_of_the_report(run: Run) -> None:
    old, other = api.evaluate(run, ["drop"], [])
    for row in (old, other):
        del row["identity"]
    run.cells.write_text("".join(json.dumps(row) + "\n" for row in (old, other)))
    api.evaluate(run, [], [])
    data = load(run.path)
    assert [cell["attack"] for cell in data.cells] == [None]
    assert any("recorded no hashes" in note for note in data.notes)


def test_source_of_installed_libraries_and_of_the_core_is_not_followed() -> None:
    drop = registry.find("attack", "drop")
    found: dict[str, bytes] = {}
    source._collect(sys.modules[drop.__module__], "attacks", found)
    assert "attacks.external.drop" in found
    assert all(name.partition(".")[0] in ("attacks", "envs", "policies") for name in found), sorted(found)
