"""The command ``audit``: its reports, exit codes, and what it refuses."""

from __future__ import annotations

import json
import os
import socket
import subprocess
import sys
from pathlib import Path

import pytest
import yaml
from sarif_pydantic import Sarif
from servers import Served, a2a_server
from typer.testing import CliRunner

from agentcomm.base.errors import AgentcommError, ConfigError
from agentcomm.cli.main import app
from agentcomm.protocols.audit.reports import as_json, as_sarif
from agentcomm.protocols.audit.run import PROBES
from agentcomm.protocols.audit.target import Target, read_token
from agentcomm.protocols.audit.verdicts import Report, Row, Verdict

ROWS = tuple(Row("a2a-replay", "title", verdict.value, verdict, "evidence", "fix") for verdict in Verdict)
REPORT = Report("http://127.0.0.1:9999", "a2a", ROWS)
RUN = CliRunner()
ACTION = Path(__file__).parents[2] / "examples" / "audit_action"


@pytest.fixture(scope="module")
def server() -> Served:
    with a2a_server(owner=True) as served:
        yield served


def test_exit_codes() -> None:
    def code(*verdicts: Verdict, probe: str = "a2a-replay") -> int:
        return Report("", "", tuple(Row(probe, "", "", verdict, "") for verdict in verdicts)).exit_code

    assert code(*Verdict) == 1
    assert code(Verdict.PASS, Verdict.INCONCLUSIVE) == 0
    assert code(Verdict.INCONCLUSIVE, Verdict.SKIPPED) == code() == 2
    assert code(Verdict.PASS, probe="a2a-discovery") == 2
    assert code(Verdict.PASS, Verdict.INCONCLUSIVE, probe="a2a-anonymous") == 2  # it is open who is served


def test_sarif_is_sound() -> None:
    read = Sarif.model_validate_json(as_sarif(REPORT))
    results = read.runs[0].results
    assert [result.level.value for result in results] == ["none", "error", "none", "none"]
    raw = json.loads(as_sarif(REPORT))["runs"][0]
    assert [result["kind"] for result in raw["results"]] == ["pass", "fail", "open", "notApplicable"]
    assert len({result["partialFingerprints"]["probe/v1"] for result in raw["results"]}) == 4
    assert all(
        raw["tool"]["driver"]["rules"][result["ruleIndex"]]["id"] == result["ruleId"] for result in raw["results"]
    )


def test_each_probe_is_a_rule_with_a_fix() -> None:
    probes = [probe for some in PROBES.values() for probe in some]
    assert len({probe.id for probe in probes}) == len(probes)
    assert all(probe.fix for probe in probes)
    rows = tuple(Row(probe.id, probe.title, "all", Verdict.FAIL, "x", probe.fix) for probe in probes)
    assert len(Sarif.model_validate_json(as_sarif(Report("http://127.0.0.1", "a2a", rows))).runs[0].results) == len(
        rows
    )


def test_json() -> None:
    read = json.loads(as_json(REPORT))
    assert (read["exit_code"], read["counts"]["fail"], len(read["rows"])) == (1, 1, 4)


def test_command(server: Served, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("ALICE", "alice-token")
    (tmp_path / "bob").write_text("bob-token\n")
    written = tmp_path / "audit.sarif"
    words = ["audit", server.url, "--owner-token", "env:ALICE", "--stranger-token", f"file:{tmp_path / 'bob'}"]
    result = RUN.invoke(
        app, [*words, "--allow-changes", "--message", "wait", "--format", "sarif", "--output", str(written)]
    )
    assert result.exit_code == 1, result.output
    assert "a2a-owner-open" in result.output
    Sarif.model_validate_json(written.read_text())
    for text in (result.output, written.read_text()):
        assert "alice-token" not in text
        assert "bob-token" not in text
    plain = RUN.invoke(app, [*words, "--format", "json"])
    assert json.loads(plain.output)["protocol"] == "a2a"


@pytest.mark.parametrize(
    ("url", "says"),
    [
        ("http://example.com", "--allow-remote"),
        ("http://127.0.0.1.example.com", "--allow-remote"),
        ("http://10.0.0.1:80/mcp", "--allow-remote"),
        ("http://0x7f.1", "--allow-remote"),
        ("ftp://127.0.0.1", "http://"),
        ("http://alice:secret@127.0.0.1", "credentials"),
        ("http://127.0.0.1:99999", "http://"),
        ("http://[::1", "http://"),
        ("127.0.0.1:80", "http://"),
    ],
)
def test_addresses_that_are_refused(url: str, says: str) -> None:
    with pytest.raises(ConfigError, match=says):
        Target(url)


def test_addresses_of_this_machine() -> None:
    for url in ("http://127.0.0.1:1", "http://localhost:1/mcp", "http://[::1]:1", "http://127.8.8.8"):
        assert Target(url).url == url
    assert Target("https://agent.example", remote=True).origin == "https://agent.example:443"


def test_tokens_are_not_taken_from_the_command_line(tmp_path: Path) -> None:
    for source in ("secret-token", "env:NO_SUCH_VARIABLE", f"file:{tmp_path / 'none'}", "env:"):
        with pytest.raises(AgentcommError) as error:
            read_token(source, "--owner-token")
        assert "secret-token" not in str(error.value)
    (tmp_path / "two").write_text("two words")
    with pytest.raises(ConfigError, match="printable"):
        read_token(f"file:{tmp_path / 'two'}", "--owner-token")
    with pytest.raises(ConfigError, match="another account"):
        Target("http://localhost", owner_token="same", stranger_token="same")


@pytest.mark.parametrize(
    "words",
    [
        ["--protocol", "soap"],
        ["--format", "xml"],
        ["--output", "x"],
        ["--arguments", "[1]"],
        ["--card-key", "none.pem"],
    ],
)
def test_usage_errors(words: list[str]) -> None:
    result = RUN.invoke(app, ["audit", "http://127.0.0.1:9", *words], standalone_mode=False)
    assert isinstance(result.exception, AgentcommError)
    assert str(result.exception).startswith(words[0])


def test_a_dead_port_is_one_line() -> None:
    """From the command's own entry, whose exit code and output a script sees."""
    with socket.socket() as reserved:
        reserved.bind(("127.0.0.1", 0))  # bound and not listening: connections are refused
        url = f"http://127.0.0.1:{reserved.getsockname()[1]}"
        command = [sys.executable, "-m", "agentcomm", "audit", url, "--format", "json"]
        ran = subprocess.run(command, capture_output=True, text=True, check=False, timeout=120)
    assert (ran.returncode, ran.stdout) == (2, "")
    (line,) = ran.stderr.splitlines()
    assert line.startswith(f"error: nothing can be reached at {url}: connection refused; start the agent or server")


def test_action_is_sound() -> None:
    action = yaml.safe_load((ACTION / "action.yml").read_text())
    assert action["runs"]["using"] == "composite"
    steps = action["runs"]["steps"]
    assert all("shell" in step for step in steps if "run" in step)
    asked = {word.strip() for step in steps for word in _inputs(json.dumps(step))}
    assert asked <= set(action["inputs"])
    # inputs reach the shell as variables only: text in a script could be run
    assert all("${{" not in step.get("run", "") for step in steps)


def _inputs(text: str) -> list[str]:
    return [part.split("}}")[0].split()[0] for part in text.split("inputs.")[1:]]


def test_command_line_of_the_action_parses(server: Served, tmp_path: Path) -> None:
    action = yaml.safe_load((ACTION / "action.yml").read_text())
    step = next(step for step in action["runs"]["steps"] if step.get("id") == "audit")
    given = {
        "URL": server.url,
        "PROTOCOL": "a2a",
        "MESSAGE": "wait",
        "ALLOW_CHANGES": "true",
        "TOOL": "",
        "ARGUMENTS": "",
    }
    assert set(given) | {"OWNER_TOKEN", "STRANGER_TOKEN", "SARIF"} == set(step["env"])
    tools = f"{Path(sys.executable).parent}{os.pathsep}{os.environ['PATH']}"
    tokens = {"OWNER_TOKEN": "alice-token", "STRANGER_TOKEN": "bob-token", "SARIF": str(tmp_path / "a.sarif")}
    environment = {**os.environ, **given, **tokens, "PATH": tools, "GITHUB_STEP_SUMMARY": str(tmp_path / "summary.md")}
    ran = subprocess.run(
        ["bash", "-e", "-c", step["run"]], env=environment, capture_output=True, text=True, check=False
    )
    assert ran.returncode == 1, ran.stderr
    assert ran.stderr == ""
    Sarif.model_validate_json((tmp_path / "a.sarif").read_text())
    assert "a2a-replay" in ran.stdout
