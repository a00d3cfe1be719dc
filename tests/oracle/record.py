"""The oracle's record: write it, or hold present code against it.

    python tests/oracle/record.py                      # write it
    python tests/oracle/record.py messages             # one group of it
    python tests/oracle/record.py --check              # compare all, exactly but for a relative 1e-6 of floats
    python tests/oracle/record.py --check messages --only covert --tolerance 1e-3

Groups: messages, objects, directory, decisions, weights, cells. After a check the exit status is 1 if an entry differs.
"""

from __future__ import annotations

import argparse
import gzip
import json
import sys
import time
from pathlib import Path
from typing import Any

HERE = Path(__file__).resolve().parent
sys.path.insert(0, str(HERE))

from cases import GROUPS  # noqa: E402
from entries import Entries, differences  # noqa: E402

SHOWN = 12  # differing entries of a case that are printed


def place(group: str) -> Path:
    return HERE / "recorded" / f"{group}.json.gz"


def read(group: str) -> dict[str, Entries]:
    """The recorded cases of a group."""
    recorded: dict[str, Entries] = json.loads(gzip.decompress(place(group).read_bytes()))
    return recorded


def write(group: str, found: dict[str, Entries]) -> None:
    """One case per line; equal entries give equal bytes."""
    lines = [f"{json.dumps(name)}: {json.dumps(found[name], sort_keys=True)}" for name in sorted(found)]
    text = "{\n" + ",\n".join(lines) + "\n}\n"
    place(group).parent.mkdir(exist_ok=True)
    place(group).write_bytes(gzip.compress(text.encode(), 9, mtime=0))


def compare(group: str, found: dict[str, Entries], tolerance: float, only: str) -> int:
    """Print what differs; the number of cases that do."""
    recorded, bad = {name: case for name, case in read(group).items() if only in name}, 0
    for name in sorted(found.keys() - recorded.keys()):
        print(f"{group} | {name} | not recorded yet")
    for name in sorted(recorded):
        lines = list(differences(found.get(name, {}), recorded.get(name, {}), tolerance))
        bad += bool(lines)
        for line in lines[:SHOWN]:
            print(f"{group} | {name} | {line}")
        if len(lines) > SHOWN:
            print(f"{group} | {name} | and {len(lines) - SHOWN} more entries")
    return bad


def main(arguments: list[str] | None = None) -> int:
    import torch

    parser = argparse.ArgumentParser(description="Write the oracle's record, or hold present code against it.")
    parser.add_argument("groups", nargs="*", metavar="group", help=f"of {', '.join(GROUPS)}; all when not given")
    parser.add_argument("--check", action="store_true", help="compare with the record instead of writing it")
    parser.add_argument("--tolerance", type=float, default=1e-6, help="relative, of floats")
    parser.add_argument("--only", default="", help="with --check: cases with this text in their names")
    given: Any = parser.parse_args(arguments)
    if unknown := set(given.groups) - GROUPS.keys():
        parser.error(f"no such group: {', '.join(sorted(unknown))}")
    torch.set_num_threads(1)
    bad = 0
    for group in given.groups or GROUPS:
        began = time.perf_counter()
        only = given.only if given.check else ""
        found = {name: case() for name, case in GROUPS[group]().items() if only in name}
        if given.check:
            differing = compare(group, found, given.tolerance, only)
            bad += differing
            outcome = f"{differing} differ"
        else:
            write(group, found)
            outcome = f"{place(group).stat().st_size} bytes written"
        print(f"{group}: {len(found)} cases, {outcome}, {time.perf_counter() - began:.1f} s")
    return int(bad > 0)


if __name__ == "__main__":
    raise SystemExit(main())
