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

from cases import BIT_BY_BIT, DEFENSES, GROUPS, PATHS, Case
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


def slow() -> set[tuple[str, str]]:
    """Half of the messages: every form of attack stays with and without defenses, and on both paths, but in two of the
    four cases; and a whole grid of ten seconds, of which the other one shows the same.
    """
    out, forms = {("cells", "task_market")}, dict[str, int]()
    for case in recorded("messages"):
        form, defenses, path = case.split(" / ")
        number = forms.setdefault(form, len(forms))
        if path in PATHS and (number + (*DEFENSES,).index(defenses) + (*PATHS,).index(path)) % 2:
            out.add(("messages", case))
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
