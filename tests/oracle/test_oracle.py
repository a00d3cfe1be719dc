"""Present code does what it did when the oracle was recorded.

There are 539 cases in six groups: messages (conversations under every form of attack, with and without defenses, on
two paths; attacks that ask for more than they may; every channel and codec), objects (the same message by message, as
bytes), directory (every form of attack on a hub: undefended, defended, obedient), decisions (rollouts of small teams:
every policy, every world but the attackers', and attacks on sensors, actions, rewards and messages), weights (after two
iterations of training) and cells (whole grids of two small teams). ``cases.py`` has them by name, ``adapter.py`` is all
they know of the package, ``record.py`` writes ``recorded/`` and compares with it group by group.

Here floats may differ by a thousandth, as they do from CPU to CPU; integers, hashes and texts may not at all. All was
recorded on an x86 CPU: torch draws some random numbers otherwise on others. Three cases hang on the last bits of floats
(``BIT_BY_BIT``); only ``record.py --check`` compares these. So does how many actions a covert channel changes in a team
whose actions are nearly tied (``NEARLY_TIED``), which is compared on processors like the one it was recorded on.
"""

from __future__ import annotations

import re
import sys
from functools import cache
from pathlib import Path

import pytest
import torch

sys.path.insert(0, str(Path(__file__).parent))

from cases import BIT_BY_BIT, GROUPS, IN_TEAMS, Case
from entries import Entries, differences
from record import read
from thinning import thinned

TOLERANCE = 1e-3
RECORDED_ON = "AVX512"
NEARLY_TIED = re.compile(r"covert\(.*: actions\.changed")  # entries of the cells
SHOWN = 20


@cache
def recorded(group: str) -> dict[str, Entries]:
    return read(group)


@cache
def present(group: str) -> dict[str, Case]:
    return GROUPS[group]()


CASES = [(group, case) for group in GROUPS for case in recorded(group) if case not in BIT_BY_BIT]


# What stands beside a form of attack in the cases of a group; forms take turns.
TURNS: dict[str, tuple[tuple[str, ...], ...]] = {
    "messages": (
        ("undefended / plain", "defended / fragments and int8"),
        ("undefended / fragments and int8", "defended / plain"),
    ),
    "objects": (("undefended",), ("defended",)),
    "directory": (("undefended",), ("defended",), ("obedient",)),
    "decisions": (("gate",), ("in turns / defended",)),
}


def slow() -> set[tuple[str, str]]:
    """Cases of an attack that are about as others of the same attack, which stay; no attack is left out of a group.

    So is one of two whole grids of ten seconds.
    """
    of_form: dict[tuple[str, str], list[tuple[int, str]]] = {}
    for group, case in CASES:
        form, _, beside = case.partition(" / ")
        if group != "decisions" or form in IN_TEAMS:
            for turn, others in enumerate(TURNS.get(group, ())):
                if beside in others:
                    of_form.setdefault((group, form), []).append((turn, case))
    out = {("cells", "task_market")}
    for number, ((group, _), cases) in enumerate(of_form.items()):
        chosen = {case for turn, case in cases if turn == number % len(TURNS[group])}
        out |= {(group, case) for _, case in cases if chosen and case not in chosen}
    return out


@pytest.mark.parametrize(("group", "case"), thinned(CASES, set(CASES) - slow()))
def test_as_recorded(group: str, case: str) -> None:
    found = present(group)[case]()
    before = recorded(group)[case]
    if torch.backends.cpu.get_cpu_capability() != RECORDED_ON:
        found, before = ({k: v for k, v in of.items() if not NEARLY_TIED.fullmatch(k)} for of in (found, before))
    lines = list(differences(found, before, TOLERANCE))
    assert not lines, "\n".join(f"{group} | {case} | {line}" for line in lines[:SHOWN])


@pytest.mark.parametrize("group", list(GROUPS))
def test_every_recorded_case_can_be_computed(group: str) -> None:
    """New plug-ins have cases that are not recorded; those that are recorded stay."""
    assert present(group).keys() >= recorded(group).keys()
