"""Attacks that cheat, in real cells: each is noticed, or has no effect; what Python cannot stop is listed as known."""

from __future__ import annotations

import gc
import re
from collections.abc import Iterator
from typing import Any

import cheats_returned  # noqa: F401  (adds to CHEATS)
import noted
import pytest
import torch
from cheats import CHEATS
from small import small

from agentcomm.base import registry
from agentcomm.base.seeds import fingerprint
from agentcomm.evaluation.cells import Cell
from agentcomm.evaluation.grid import Evaluator
from agentcomm.evaluation.setup import load_team, prepare, run_cell
from agentcomm.guards.base import GuardBase
from agentcomm.runs import policy_file
from agentcomm.runs.assembly import make_policy, make_world
from agentcomm.runs.choices import Choice
from agentcomm.runs.folder import Run, create

pytestmark = pytest.mark.filterwarnings("ignore:.*reduce_op")  # of torch, where a cheat walks over all objects
STATE, SETTINGS = "keeps state outside its memory", "changes settings of torch"
GENERATOR, THREAT = "draws from the global generator", "changes its threat model"
VIOLATIONS = {
    **dict.fromkeys(("AttrInt", "AttrDeque", "AttrModule", "AttrClass", "Defaults", "Global"), STATE),
    **dict.fromkeys(("TorchRng", "OtherRng"), GENERATOR),
    **dict.fromkeys(("BudgetObject", "ShownThreat", "Frames"), THREAT),
    "PowersObject": "drop without the power to",
    "DefaultDtype": SETTINGS,
    "ShadowedMethod": "modify beyond the norm",
    "NegativeDelay": "delay by a negative number of steps",
    "OutOfReach": "drop out of reach",
}
FAILURES = {
    "MemoryRow": r"memory 'm' must be a plain tensor \[16, \.\.\.\], a row per world, not \[17\]",
    "MemoryResize": "on_messages must not resize the tensors of view.memory",
    "Reads": "reads view.payload, which requires the power 'read'",
    "TensorSubclass": "edits.drop must be a plain torch.Tensor, not Liar",
    "ReplayTocTou": "on_messages must return MessageEdits, not Twice",
    "ReplayTwice": "edits.inject must be Envelopes, not Two",
    "Nothing": "on_messages must return MessageEdits, not None",
    "NaNs": r"edits.change is nan in world \d+ at step \d+: return finite numbers",
    "Ints": "edits.drop must be torch.bool",
    "Doubles": "edits.change must be torch.float32",
    "BigBegin": r"edits.fragments.begin must be in 0 \.\. 1024",
    "Expanded": "edits.change must be torch.float32",
    "Monkeypatch": "the code of a plug-in changed (GuardBase.spend|Permits.change)",
    "GcWeights": "the policy's weights changed during the episodes",
    "GraphWeights": "the policy's weights changed during the episodes",
    "Exits": r"failed in on_messages: SystemExit: 0 \(.*cheats_returned.py, line \d+\)",
}
NO_EFFECT = ("ViewInPlace", "Judge", "ControlPeek", "Origin", "OthersKey", "SeededKeys", "ActPeek")
# Python in the same process can do these, and no guard notices; docs/howto/attack.md says so.
KNOWN = {
    "CrossWorld": "hooks see all worlds at once; the conformance check of attacks finds it",
    "Closure": "the closure of view.predict_logits holds all traffic",
    "OtherMemory": "the garbage collector reaches all objects of the process",
}
PERMITTED = ("Honest", "Huge")  # its budget sets no norm, and the policy overflows


@pytest.fixture(scope="module")
def run(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Run]:
    """An untrained team, and the cheats as plug-ins, for the tests of this file."""
    patch = pytest.MonkeyPatch()
    patch.setattr(registry, "_registered", registry._registered | {("attack", c.name): c for c in CHEATS.values()})
    run = create(small(), tmp_path_factory.mktemp("cheats"))
    config = run.config
    policy = make_policy(config.policy, make_world(config.environment, 1), "team", 0)
    policy_file.save(run.policy("team", 0), policy, config.environment, config.policy, "team", 0, {})
    yield run
    patch.undo()


@pytest.fixture(autouse=True)
def untouched() -> Iterator[None]:
    """Whatever a cheat did is undone after its cell.

    Cheats that look at all objects of the process do not find those of other tests, of which there are millions.
    """
    noted.FOUND.clear()
    gc.freeze()
    spend, dtype = GuardBase.spend, torch.get_default_dtype()
    yield
    gc.unfreeze()
    assert GuardBase.spend is spend
    assert torch.get_default_dtype() is dtype


def cell(run: Run, name: str | None, *defenses: str) -> Cell:
    settings = run.config.evaluation
    attack = None if name is None else Choice(name=CHEATS[name].name)
    return Cell("team", 0, attack, tuple(Choice(name=d) for d in defenses), settings.episodes, settings.seed)


def row(run: Run, name: str | None, *defenses: str) -> dict[str, Any]:
    return Evaluator(run).row(cell(run, name, *defenses))


def test_every_cheat_is_accounted_for() -> None:
    assert sorted(CHEATS) == sorted([*VIOLATIONS, *FAILURES, *NO_EFFECT, *KNOWN, *PERMITTED])


@pytest.mark.parametrize("name", VIOLATIONS)
def test_what_goes_beyond_is_counted_as_a_violation(run: Run, name: str) -> None:
    found = row(run, name)
    assert found["status"] in ("ok", "inconclusive"), found["error"]
    assert found["violations"].get(VIOLATIONS[name], 0) > 0, found["violations"]
    assert noted.FOUND.get(name, 1) == 1, "what it kept was undone after each call"
    assert found["attack"]["threat"]["budget"] == CHEATS[name].budget.model_dump(exclude_none=True)  # type: ignore[attr-defined]


@pytest.mark.parametrize("name", FAILURES)
def test_what_cannot_be_judged_fails(run: Run, name: str) -> None:
    weights = fingerprint(load_team(run, cell(run, None)).policy)
    evaluator = Evaluator(run)
    found = evaluator.row(cell(run, name))
    assert found["status"] == "failed"
    assert re.search(FAILURES[name], found["error"]), found["error"]
    assert CHEATS[name].name in found["error"] or "the code of a plug-in" in found["error"]
    assert fingerprint(evaluator._saved(cell(run, None)).policy) == weights, "later cells have the team's own weights"


def test_a_view_is_a_copy(run: Run) -> None:
    assert row(run, "ViewInPlace")["metrics"] == row(run, "Honest")["metrics"]


def test_a_judge_sees_copies(run: Run) -> None:
    judged, clean = row(run, "Judge"), row(run, None)
    assert judged["effect"]["rate"] == judged["effect"]["control_rate"] == 1.0
    assert {name: judged["metrics"][name] for name in clean["metrics"]} == clean["metrics"]


def test_an_attack_is_not_told_that_it_is_its_own_control(run: Run) -> None:
    controlled = cell(run, "ControlPeek")
    saved = load_team(run, controlled)
    for run_as in ("control", "silence"):
        with prepare(controlled, saved, 4, run_as) as parts:
            guard = parts[2].adversary.guards[0]
            assert guard.run_as == run_as
            assert guard.attack.config.run_as == "attack"
            run_cell(controlled, *parts)
        assert guard.total.sum() > 0


def test_forgeries_are_counted_as_such_whatever_origin_they_claim(run: Run) -> None:
    assert row(run, "Origin")["ledger"]["forged"] > 0


@pytest.mark.parametrize("name", ["Origin", "OthersKey", "SeededKeys"])
def test_nobody_seals_in_the_name_of_another(run: Run, name: str) -> None:
    found = row(run, name, "authenticate")
    assert found["ledger"]["forged"] > 0
    assert found["ledger"]["accepted_forged"] == 0


def test_the_secret_of_actions_cannot_be_drawn_ahead(run: Run) -> None:
    acting = cell(run, "ActPeek")
    guesses: list[bool] = []
    with prepare(acting, load_team(run, acting), 64) as parts:
        guard = parts[2].adversary.action_guards[0]

        def compare(records: Any) -> None:
            guesses.extend((guard.base.memory.tensors["secret"] == guard.secret)[guard.secret >= 0].tolist())

        run_cell(acting, *parts, watch=compare)
    assert len(guesses) >= 64
    assert sum(guesses) / len(guesses) < 0.05


@pytest.mark.parametrize("name", [*KNOWN, *PERMITTED])
def test_what_is_known_or_permitted_is_evaluated(run: Run, name: str) -> None:
    found = row(run, name)
    assert not found.get("violations", {}).keys() & {STATE, SETTINGS, GENERATOR, THREAT}
    assert found["status"] == "failed" if name == "Huge" else found["status"] in ("ok", "inconclusive"), found["error"]
    assert name != "Huge" or "round 1, of agent 'perception_0' in world 0, step 0 is NaN" in found["error"]


def test_the_conformance_check_finds_what_crosses_worlds() -> None:
    from agentcomm.conformance import check_attack

    with pytest.raises(AssertionError):
        check_attack(CHEATS["CrossWorld"])
