"""Runs the official suites of MCP and A2A on servers that are bare, behind ``agentcomm proxy``, and defended.

``python -m benchmarks.conformance [mcp] [a2a]`` (``make conformance``) gets the suites at pinned versions into
``build/kits``, writes ``conformance.md``, and fails if one check is worse than on the bare SDK. Where the suites'
repositories cannot be reached, ``--tck`` and ``--sdk`` (or A2A_TCK and MCP_SDK) name copies of them.
"""

from __future__ import annotations

import argparse
import contextlib
import os
import re
import subprocess
import sys
from collections import Counter
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from importlib.metadata import version
from pathlib import Path

from benchmarks.conformance_kits import SDK, SUITE, TCK, Checks, KitError, Kits

ROOT = Path(__file__).parents[1]
PLACES = ("bare", "proxy", "defended")
ORDER = ("absent", "failure", "warning", "skipped", "info", "success")  # the worst first


@contextlib.contextmanager
def running(command: list[str], pattern: str) -> Iterator[str]:
    """A server as a process of its own, while the block runs.

    Args:
        command: Starts it.
        pattern: Finds its URL in the first line of its output.
    """
    process = subprocess.Popen(command, cwd=ROOT, stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True)
    assert process.stdout is not None
    try:
        line = process.stdout.readline()
        found = re.search(pattern, line)
        if found is None:
            raise KitError(f"{' '.join(command)} did not start: {line}")
        yield found[1]
    finally:
        process.terminate()
        process.communicate(timeout=20)


@contextlib.contextmanager
def placed(protocol: str, place: str, kits: Kits) -> Iterator[str]:
    """The server under test, and its URL or that of the proxy in front of it."""
    kind = "defended" if place == "defended" else "bare"
    command = [sys.executable, "-m", "benchmarks.conformance_servers", protocol, kind, "--checkout"]
    with running([*command, str(kits.everything)], r"(http://\S+)") as url:
        if place != "proxy":
            yield url
            return
        program = [str(Path(sys.executable).with_name("agentcomm")), "proxy", "--protocol", protocol]
        with running([*program, "--upstream", url, "--listen", "127.0.0.1:0"], r"at (http://[^\s,]+)") as proxy:
            yield proxy


def measure(protocol: str, kits: Kits) -> dict[str, Checks]:
    """The checks of a protocol's suite in all places, at the same time: the suites mostly wait."""

    def one(place: str) -> Checks:
        with placed(protocol, place, kits) as url:
            return kits.run_mcp(url, place == "bare") if protocol == "mcp" else kits.run_a2a(url)

    with ThreadPoolExecutor(1 if protocol == "mcp" else len(PLACES)) as pool:
        return dict(zip(PLACES, pool.map(one, PLACES), strict=True))


def differing(bare: Checks, other: Checks, worse: bool) -> list[str]:
    """The checks that are worse, or better, than bare."""
    out = []
    for name in sorted(bare.keys() | other.keys()):
        before, after = bare.get(name, "absent"), other.get(name, "absent")
        if (ORDER.index(after) < ORDER.index(before)) if worse else (ORDER.index(after) > ORDER.index(before)):
            out.append(f"`{name}`: {before} when bare, {after}")
    return out


def section(protocol: str, results: dict[str, Checks]) -> tuple[list[str], int]:
    """Markdown about a protocol, and the number of checks that are worse than bare."""
    lines, count = [], 0
    lines += ["| place | checks | success | failure | other | worse than bare |", "|---|---|---|---|---|---|"]
    details: list[str] = []
    for place, checks in results.items():
        outcomes, worse = Counter(checks.values()), differing(results["bare"], checks, worse=True)
        count += len(worse)
        other = len(checks) - outcomes["success"] - outcomes["failure"]
        row = [place, len(checks), outcomes["success"], outcomes["failure"], other, len(worse)]
        lines.append(f"| {' | '.join(map(str, row))} |")
        details += [f"- worse, {place}: {line}" for line in worse]
        details += [f"- better, {place}: {line}" for line in differing(results["bare"], checks, worse=False)]
    failing = sorted(name for name, outcome in results["bare"].items() if outcome == "failure")
    names = [f"- `{name}`" for name in failing]
    return [*lines, "", *(details or ["No check differs."]), "", f"{len(failing)} fail when bare:", "", *names, ""], count


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("protocols", nargs="*", choices=["mcp", "a2a", []], help="default: both")
    parser.add_argument("--tck", default=os.environ.get("A2A_TCK", TCK[0]), help="URL or path of a2a-tck's repository")
    parser.add_argument("--sdk", default=os.environ.get("MCP_SDK", SDK[0]), help="the same of the MCP SDK's")
    parser.add_argument("--node", default=os.environ.get("NODE22"), help="a Node 22; default: that of npm, for Linux")
    parser.add_argument("--folder", type=Path, default=ROOT / "build/kits", help="where the suites are kept")
    options = parser.parse_args()
    kits, worse, parts = Kits(options.folder.resolve(), options.node), 0, []
    about = {
        "mcp": f"## MCP {version('mcp')}\n\n{SUITE}, the SDK's everything-server ({SDK[1][:7]}).\n",
        "a2a": f"## A2A {version('a2a-sdk')}\n\na2a-tck 1.0-dev ({TCK[1][:7]}), level MUST, JSON-RPC and HTTP+JSON.\n",
    }
    for protocol in options.protocols or ["mcp", "a2a"]:
        kits.get_mcp(options.sdk) if protocol == "mcp" else kits.get_a2a(options.tck)
        lines, count = section(protocol, measure(protocol, kits))
        parts += [about[protocol], *lines]
        worse += count
    text = "\n".join(["# Official suites", "", *parts]).rstrip() + "\n"
    Path(__file__).with_suffix(".md").write_text(text)
    print(text)
    if worse:
        raise SystemExit(f"{worse} checks are worse than on the bare SDK")


if __name__ == "__main__":
    main()
