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
OWN_IDS = ", own ids"  # what a place's name ends with where the kit gave each of its messages an id of its own
ORDER = ("absent", "failure", "warning", "skipped", "info", "success")  # the worst first
# Checks that are worse when defended because they do what a defense is there to stop.
INTENDED = {
    "sep-2322-ignore-unexpected-params": "it sends answers to a question that was never asked, as an attacker does who"
    " leaves out an approval; `OneTimeApprovals` has the tool ask first, and the check wants it to act at once",
    "CORE-MULTI-002a": "the requirement is that an agent rejects a contextId which it cannot accept; `OwnedContexts`"
    " rejects one that it did not make, and the kit takes every error for a failure",
}


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
    kind = "defended" if place.startswith("defended") else "bare"
    command = [sys.executable, "-m", "benchmarks.conformance_servers", protocol, kind, "--checkout"]
    with running([*command, str(kits.everything)], r"(http://\S+)") as url:
        if place != "proxy":
            yield url
            return
        program = [str(Path(sys.executable).with_name("agentcomm")), "proxy", "--protocol", protocol]
        with running([*program, "--upstream", url, "--listen", "127.0.0.1:0"], r"at (http://[^\s,]+)") as proxy:
            yield proxy


def measure(protocol: str, kits: Kits) -> dict[str, Checks]:
    """The checks of a protocol's suite in all places; those of a2a-tck at the same time, because it mostly waits."""
    places = PLACES if protocol == "mcp" else (*PLACES, *(place + OWN_IDS for place in PLACES))

    def one(place: str) -> Checks:
        with placed(protocol, place, kits) as url:
            if protocol == "mcp":
                return kits.run_mcp(url, place == "bare")
            return kits.run_a2a(url, own_ids=place.endswith(OWN_IDS))

    with ThreadPoolExecutor(1 if protocol == "mcp" else len(PLACES)) as pool:
        return dict(zip(places, pool.map(one, places), strict=True))


def differing(bare: Checks, other: Checks, worse: bool) -> list[str]:
    """The names of the checks that are worse, or better, than bare."""

    def rank(checks: Checks, name: str) -> int:
        return ORDER.index(checks.get(name, "absent"))

    names = sorted(bare.keys() | other.keys())
    return [name for name in names if (rank(other, name) - rank(bare, name)) * (-1 if worse else 1) > 0]


def intended(name: str, place: str, results: dict[str, Checks]) -> str | None:
    """Why a check is meant to be worse in a place; None if it is not.

    A check that is worse only while the kit sends several messages under one id is worse because each id is executed
    once.
    """
    if not place.startswith("defended"):
        return None
    own = [results[kind + OWN_IDS] for kind in ("bare", "defended") if kind + OWN_IDS in results]
    if place == "defended" and own and name not in differing(own[0], own[1], worse=True):
        return "the kit sends several messages under this id, and each id is executed once"
    return next((reason for check, reason in INTENDED.items() if check in name), None)


def section(results: dict[str, Checks]) -> tuple[list[str], int]:
    """Markdown about a protocol, and the number of checks that are worse than bare and should not be."""
    details, count = [], 0
    lines = [
        "| place | checks | success | failure | other | worse than bare | better |",
        "|---|---|---|---|---|---|---|",
    ]
    for place, checks in results.items():
        bare = results["bare" + OWN_IDS if place.endswith(OWN_IDS) else "bare"]
        outcomes = Counter(checks.values())
        worse, better = differing(bare, checks, worse=True), differing(bare, checks, worse=False)
        other = len(checks) - outcomes["success"] - outcomes["failure"]
        row = [place, len(checks), outcomes["success"], outcomes["failure"], other, len(worse), len(better)]
        lines.append(f"| {' | '.join(map(str, row))} |")
        for name in worse + better:
            reason = intended(name, place, results) if name in worse else None
            count += name in worse and reason is None
            what = f"{bare.get(name, 'absent')} when bare, {checks.get(name, 'absent')} here"
            details.append(f"- {place}, `{name}`: {what}" + (f". On purpose: {reason}." if reason else ""))
    failing = Counter(name.partition(", ")[0] for name, outcome in results["bare"].items() if outcome == "failure")
    known = [f"- `{name}`" + (f" ({number})" if number > 1 else "") for name, number in sorted(failing.items())]
    lines += ["", *(details or ["No check differs."]), ""]
    return [
        *lines,
        f"{failing.total()} checks fail when bare:" if known else "None fails when bare.",
        "",
        *known,
    ], count


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("protocols", nargs="*", choices=["mcp", "a2a", []], help="default: both")
    parser.add_argument("--tck", default=os.environ.get("A2A_TCK", TCK[0]), help="URL or path of a2a-tck's repository")
    parser.add_argument("--sdk", default=os.environ.get("MCP_SDK", SDK[0]), help="the same of the MCP SDK's")
    parser.add_argument("--node", default=os.environ.get("NODE22"), help="a Node 22; default: that of npm, for Linux")
    parser.add_argument("--folder", type=Path, default=ROOT / "build/kits", help="where the suites are kept")
    options = parser.parse_args()
    kits, worse = Kits(options.folder.resolve(), options.node), 0
    about = {
        "mcp": f"## MCP {version('mcp')}\n\n{SUITE}, the SDK's everything-server ({SDK[1][:7]}).\n",
        "a2a": f"## A2A {version('a2a-sdk')}\n\na2a-tck 1.0-dev ({TCK[1][:7]}), level MUST, JSON-RPC and HTTP+JSON."
        " *Own ids*: each message of the kit has an id of its own, as the protocol defines"
        ' ("the unique identifier (e.g. UUID) of the message"); the kit as it is repeats ids.\n',
    }
    for protocol in options.protocols or ["mcp", "a2a"]:
        kits.get_mcp(options.sdk) if protocol == "mcp" else kits.get_a2a(options.tck)
        lines, count = section(measure(protocol, kits))
        kits.folder.joinpath(f"{protocol}.md").write_text("\n".join([about[protocol], *lines]).rstrip() + "\n")
        worse += count
    pages = [
        path for path in (kits.folder / "mcp.md", kits.folder / "a2a.md") if path.exists()
    ]  # of this or other runs
    text = "# Official suites\n\n`make conformance`.\n\n" + "\n".join(path.read_text() for path in pages)
    Path(__file__).with_suffix(".md").write_text(text)
    print(text)
    if worse:
        raise SystemExit(f"{worse} checks are worse than on the bare SDK")


if __name__ == "__main__":
    main()
