"""Any damage to any file of a run gives a result or an error of ours: never a traceback, a hang or a giant message."""

from __future__ import annotations

import json
import shutil
from collections.abc import Callable
from pathlib import Path

import pytest
import yaml
from damage import DAMAGE, mutations, write_run
from thinning import thinned

from agentcomm import api
from agentcomm.base import manifest
from agentcomm.base.errors import AgentcommError
from agentcomm.report.build import render
from agentcomm.report.load import load_run
from agentcomm.runs.policy_file import POLICY as FORMAT

TEAM = "teams/team-0"
POLICY = f"{TEAM}/policy"
READ_BY: dict[str, tuple[Callable[[Path], object], ...]] = {
    "config.yaml": (api.report, api.evaluate, api.messages, lambda run: resume(run)),
    "cells.jsonl": (api.report, api.evaluate, api.messages),
    "episodes.json": (api.report,),
    f"{TEAM}/progress.jsonl": (api.report,),
    "events.jsonl": (api.evaluate,),
    f"{POLICY}/policy.json": (api.evaluate, api.messages),
    f"{POLICY}/policy.safetensors": (api.evaluate, api.messages),
    f"{POLICY}/manifest.json": (api.evaluate, api.messages),
    ".signature": (api.evaluate,),
}


def resume(run: Path) -> None:
    api.train(run / "config.yaml", root=run.parent, resume=True)


def complaint(command: Callable[[Path], object], run: Path, what: str = "") -> str:
    """The error of a command, if there is one; anything but one of ours fails the test."""
    try:
        command(run)
    except AgentcommError as error:
        return str(error)
    except Exception as error:
        raise AssertionError(what) from error
    return ""


@pytest.fixture(scope="module")
def whole(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return write_run(tmp_path_factory.mktemp("whole")).path


READ = [(file, damage, number) for file in READ_BY for damage in DAMAGE for number in range(len(READ_BY[file]))]
# Every damage to every file, read by one of its readers in turn.
FAST = [
    (file, damage, (place + of) % len(READ_BY[file]))
    for place, file in enumerate(READ_BY)
    for of, damage in enumerate(DAMAGE)
]


@pytest.mark.parametrize(("file", "damage", "reader"), thinned(READ, FAST))
def test_a_damaged_file_is_reported(whole: Path, tmp_path: Path, file: str, damage: str, reader: int) -> None:
    run = tmp_path / "small"
    shutil.copytree(whole, run, symlinks=True)
    DAMAGE[damage](run / file)
    assert len(complaint(READ_BY[file][reader], run)) < 2000


@pytest.mark.parametrize("count", thinned([25, 75], [25]))
@pytest.mark.parametrize("file", ["cells.jsonl", "episodes.json", f"{TEAM}/progress.jsonl"])
def test_a_report_of_any_value_of_the_wrong_type(whole: Path, tmp_path: Path, file: str, count: int) -> None:
    run = tmp_path / "small"
    shutil.copytree(whole, run)
    lines = (run / file).read_text().splitlines()
    for what, changed in mutations(json.loads(lines[-1]), count, seed=1):
        (run / file).write_text("\n".join([*lines[:-1], json.dumps(changed)]) + "\n")
        try:
            page = render(load_run(run))
        except AgentcommError:
            continue
        except Exception as error:
            raise AssertionError(what) from error
        assert "<img" not in page, what


@pytest.mark.parametrize("count", thinned([5, 12], [5]))
def test_an_evaluation_with_any_value_of_the_wrong_type_in_a_row(whole: Path, tmp_path: Path, count: int) -> None:
    run = tmp_path / "small"
    shutil.copytree(whole, run)
    lines = (run / "cells.jsonl").read_text().splitlines()
    for what, changed in mutations(json.loads(lines[-1]), count, seed=2):
        (run / "cells.jsonl").write_text("\n".join([*lines[:-1], json.dumps(changed)]) + "\n")
        complaint(api.evaluate, run, what)


@pytest.mark.parametrize("seed", range(3))
def test_a_config_with_any_value_of_the_wrong_type(whole: Path, tmp_path: Path, seed: int) -> None:
    run = tmp_path / "small"
    shutil.copytree(whole, run)
    config = yaml.safe_load((run / "config.yaml").read_text())
    for what, changed in mutations(config, 12, seed):
        (run / "config.yaml").write_text(yaml.safe_dump(changed))
        for command in (api.report, api.messages):
            assert len(complaint(command, run, what)) < 5000, what


def test_a_policy_with_any_value_of_the_wrong_type(whole: Path, tmp_path: Path) -> None:
    run = tmp_path / "small"
    shutil.copytree(whole, run)
    path = run / POLICY / "policy.json"
    for what, changed in mutations(json.loads(path.read_text()), 20, seed=4):
        path.write_text(json.dumps(changed))
        manifest.seal(path.parent, FORMAT)
        complaint(api.messages, run, what)


def test_weights_that_claim_to_be_giant_take_no_memory(whole: Path, tmp_path: Path) -> None:
    run = tmp_path / "small"
    shutil.copytree(whole, run)
    path = run / POLICY / "policy.safetensors"
    size = int.from_bytes(path.read_bytes()[:8], "little")
    header = json.loads(path.read_bytes()[8 : 8 + size])
    first = next(name for name in header if name != "__metadata__")
    giant = header | {first: {"dtype": "F32", "shape": [2**20, 2**20], "data_offsets": [0, 2**42]}}
    for claimed in (
        giant,
        {first: {"dtype": "F32", "shape": [2**62, 2**62], "data_offsets": [0, 4]}},
        {},
        {"x": "../../y"},
    ):
        text = json.dumps(claimed).encode()
        path.write_bytes(len(text).to_bytes(8, "little") + text + b"\0" * 64)
        manifest.seal(path.parent, FORMAT)
        assert "policy" in complaint(api.messages, run)
    path.write_bytes((2**63).to_bytes(8, "little"))
    manifest.seal(path.parent, FORMAT)
    assert "policy" in complaint(api.messages, run)
