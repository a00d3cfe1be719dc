"""Examples run, and the README and the documentation show them as they are."""

from __future__ import annotations

import asyncio
import importlib
import re
import subprocess
import sys
from pathlib import Path
from types import ModuleType
from typing import Any

import httpx
import pytest

import agentcomm
from agentcomm.base import registry
from agentcomm.base.documents import read_rows
from agentcomm.conformance import (
    check_attack,
    check_channel,
    check_defense,
    check_metric,
    check_policy,
    check_topology,
)
from agentcomm.runs.assembly import make_policy, make_world
from agentcomm.runs.choices import Choice
from agentcomm.runs.config import load

ROOT = Path(__file__).parent.parent
HOWTO = ROOT / "examples" / "howto"
CONFIGS = [*sorted((ROOT / "examples").glob("*.yaml")), ROOT / "agentcomm" / "demo.yaml"]


@pytest.mark.parametrize("path", CONFIGS, ids=lambda path: path.stem)
def test_example_configs_are_valid(path: Path) -> None:
    assert load(path).name == path.stem


def documented(name: str, monkeypatch: pytest.MonkeyPatch) -> ModuleType:
    """The module of that name in examples/howto, which a page of the documentation shows."""
    monkeypatch.setattr(registry, "_registered", dict(registry._registered))
    file = HOWTO / f"{name}.py"
    module = ModuleType(name)
    module.__file__ = str(file)
    monkeypatch.setitem(sys.modules, name, module)
    exec(compile(file.read_text(), file, "exec"), module.__dict__)
    return module


def test_pages_show_files_that_run() -> None:
    """Code of the how-to pages is included from files, and all of these are shown."""
    pages = "".join(path.read_text() for path in (ROOT / "docs" / "howto").glob("*.md"))
    blocks = [block.partition("```")[0] for block in pages.split("```python\n")[1:]]
    shown = {match[1] for block in blocks if (match := re.fullmatch(r'--8<-- "(\S+)"\n', block))}
    assert len(shown) == len(blocks), "no code is copied"
    tested = [*HOWTO.glob("*.py"), *(ROOT / "examples" / "plugin" / "harbor").glob("[!_]*.py")]
    assert {str(path.relative_to(ROOT)) for path in tested} <= shown


def test_the_attack_in_the_documentation_keeps_its_contract(monkeypatch: pytest.MonkeyPatch) -> None:
    check_attack(documented("flip", monkeypatch).Flip, {"probability": 1.0})


@pytest.mark.parametrize("name", ["liar", "echo"])
def test_further_attacks_in_the_documentation_keep_their_contract(name: str, monkeypatch: pytest.MonkeyPatch) -> None:
    check_attack(getattr(documented(name, monkeypatch), name.capitalize()))


def test_the_defense_in_the_documentation_keeps_its_contract(monkeypatch: pytest.MonkeyPatch) -> None:
    check_defense(documented("quiet", monkeypatch).Quiet)


def test_the_channel_in_the_documentation_keeps_its_contract(monkeypatch: pytest.MonkeyPatch) -> None:
    check_channel(documented("curfew", monkeypatch).Curfew, {"day": 2})


def test_the_policy_in_the_documentation_keeps_its_contract(monkeypatch: pytest.MonkeyPatch) -> None:
    documented("loudest", monkeypatch)
    choice = Choice(name="loudest", width=16, topology={"name": "random"})  # type: ignore[call-arg]
    where = Choice(name="predator_capture_prey", max_steps=8)  # type: ignore[call-arg]
    check_policy(lambda world: make_policy(choice, world), lambda count: make_world(where, count))


def test_the_topology_in_the_documentation_keeps_its_contract(monkeypatch: pytest.MonkeyPatch) -> None:
    check_topology(documented("star", monkeypatch).Star)


def test_the_metric_in_the_documentation_keeps_its_contract(monkeypatch: pytest.MonkeyPatch) -> None:
    check_metric(documented("slowest", monkeypatch).Slowest)


TEN_LINES = ROOT / "examples" / "ten_lines.py"


@pytest.mark.ray
@pytest.mark.usefixtures("ray_running")
def test_the_ten_lines_run_and_stand_in_the_readme(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """With a few steps of training and a few episodes only."""
    code = TEN_LINES.read_text().partition('"""\n\n')[2]
    assert code in (ROOT / "README.md").read_text()
    train, small = agentcomm.train, {"training": {"env_steps": 256, "worlds": 16}, "evaluation": {"episodes": 16}}
    monkeypatch.setattr(agentcomm, "train", lambda config: train(config | small))
    monkeypatch.chdir(tmp_path)
    exec(compile(code, TEN_LINES.name, "exec"), {})
    page = tmp_path / "runs" / "ten-lines" / "report.html"
    assert page.exists()
    assert agentcomm.report(page.parent) == page, "once more, although a folder of that name is imported now"


@pytest.mark.slow
@pytest.mark.ray
def test_the_ten_lines_run_as_a_script(tmp_path: Path) -> None:
    done = subprocess.run([sys.executable, TEN_LINES], cwd=tmp_path, capture_output=True, text=True, timeout=200)
    assert done.returncode == 0, done.stderr
    assert done.stderr == ""
    assert (tmp_path / "runs" / "ten-lines" / "report.html").exists()


@pytest.fixture
def foreign_learner(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Any:
    """The example module, in a folder of its own."""
    monkeypatch.chdir(tmp_path)
    monkeypatch.syspath_prepend(str(ROOT / "examples"))
    yield importlib.import_module("foreign_learner")
    sys.modules.pop("foreign_learner")


@pytest.mark.ray
@pytest.mark.usefixtures("ray_running")
def test_a_foreign_learner_is_evaluated(foreign_learner: Any, tmp_path: Path) -> None:
    """After an iteration of training; the scripted agents are as good as can be."""
    _, reports = foreign_learner.main(str(tmp_path / "checkpoint"), most=1, episodes=64)
    assert [report.parent.name for report in reports] == ["learner", "scripted"]
    rows = read_rows(tmp_path / "runs" / "scripted" / "cells.jsonl", None, "cells")[0]
    score = {
        (row["attack"] or {}).get("name", "") + row["defense_label"]: row["metrics"]["mean_return"] for row in rows
    }
    assert score["none"] == score["impersonateauthenticate"] > score["impersonatenone"] + 1
    assert score["none"] > score["dropnone"] + 1


@pytest.mark.slow
@pytest.mark.ray
@pytest.mark.usefixtures("ray_running")
def test_a_foreign_learner_beats_silence(foreign_learner: Any, tmp_path: Path) -> None:
    foreign_learner.main(str(tmp_path / "checkpoint"), episodes=256)
    rows = read_rows(tmp_path / "runs" / "learner" / "cells.jsonl", None, "cells")[0]
    assert rows[0]["metrics"]["mean_return"] > (foreign_learner.SILENT + 8) / 2
    assert rows[0]["references"]["silent"]["mean_return"] < foreign_learner.SILENT + 0.2


@pytest.mark.parametrize("protocol", ["a2a", "mcp"])
def test_the_agent_in_the_documentation_answers(protocol: str, monkeypatch: pytest.MonkeyPatch) -> None:
    assert asyncio.run(documented("carried", monkeypatch).ask(protocol, b"four")) == b"\x01four"


def test_calls_in_the_documentation_run_once(monkeypatch: pytest.MonkeyPatch) -> None:
    assert asyncio.run(documented("once_calls", monkeypatch).main()) == (["bob", "bob"], 2)


def test_tokens_in_the_documentation_name_the_caller(monkeypatch: pytest.MonkeyPatch) -> None:
    assert asyncio.run(documented("mcp_tokens", monkeypatch).main()) == ("alice", 401)


def test_two_defenses_alone_do_as_the_documentation_says(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """The executed ids outlast a restart, and pages of other sites are refused."""
    from agentcomm.protocols.serving import serve

    monkeypatch.syspath_prepend(str(ROOT / "examples"))
    notes, alone = importlib.import_module("a2a_agent"), documented("alone", monkeypatch)
    message = {"messageId": "m", "role": "ROLE_USER", "parts": [{"text": "done"}]}
    call = {"jsonrpc": "2.0", "id": 1, "method": "SendMessage", "params": {"message": message}}
    origins = [{"origin": "http://evil.example"}, {"origin": "https://app.example"}, {}]

    async def post(headers: dict[str, str]) -> tuple[int, str]:
        """The answer of a server that has just started."""
        ids = tmp_path / "ids.sqlite"
        headers = {"A2A-Version": "1.0", "authorization": "Bearer t"} | headers
        async with (
            serve(lambda url: alone.agent(notes.Notes(), notes.card(url), {"t": "alice"}, ids)) as url,
            httpx.AsyncClient(headers=headers) as http,
        ):
            answer = await http.post(url, json=call)
        return answer.status_code, answer.json().get("error", {})

    async def all_of() -> list[tuple[int, str]]:
        return [await post(headers) for headers in origins]

    foreign, own, replayed = asyncio.run(all_of())
    assert foreign[0] == 403
    assert own == (200, {})
    assert "was executed before" in str(replayed[1])
