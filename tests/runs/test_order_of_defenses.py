"""Groups of defenses that cannot work in their order are refused before anything runs, with the way to fix it."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import pytest
from small import small, untrained

from agentcomm import api
from agentcomm.base.errors import AgentcommError, ConfigError, RequirementError
from agentcomm.runs.assembly import check_training
from agentcomm.runs.grid_config import parse_grid

GRID = {"name": "g", "environments": ["predator_capture_prey"], "policies": ["commformer"]}
TWICE = "clip+clip contains a defense twice: clip; name it once"
CLIPPED = "codeword needs payloads as they arrived, but clip changes them before it: list them as codeword\\+clip"


@pytest.mark.parametrize(("group", "words"), [("clip+clip", TWICE.replace("+", r"\+")), ("clip+codeword", CLIPPED)])
def test_configs_grids_and_calls_name_what_cannot_work(group: str, words: str, tmp_path: Path) -> None:
    with pytest.raises(ConfigError, match=words):
        small(defenses=group)
    with pytest.raises(ConfigError, match=words):
        small(evaluation={"defenses": [group]})
    with pytest.raises(ConfigError, match=words):
        parse_grid(GRID | {"defenses": [group]})
    with pytest.raises(ConfigError, match=words):
        api.evaluate(untrained(tmp_path), [], [group])


@pytest.mark.parametrize(
    ("group", "words"),
    [
        ("reputation", r"nothing authenticates senders.*deploy authenticate\+reputation, or set unauthenticated=true"),
        ("authenticate+reputation:threshold=0.2+clip", None),
        ("clip+reputation:by=link", r"needs another defense that refuses messages.*\(here: clip\)"),
        ("clip+reputation:by=link,suspicion=1", None),
        ("shut_gate", r"such as authenticate\+shut_gate \(here: none\)"),
        ("repair+clip", r"such as authenticate\+repair \(here: clip\)"),
        ("rekey", r"nothing verifies seals.*deploy authenticate\+rekey"),
        ("authenticate+quarantine:reselect=true", "cannot be used in training: links that it closes are replaced"),
    ],
)
def test_defenses_without_what_they_act_on_are_refused(group: str, words: str | None) -> None:
    config = small(defenses=group)
    if words is None:
        check_training(config)
        return
    with pytest.raises(RequirementError, match=words):
        check_training(config)


def test_an_evaluation_names_every_group_that_cannot_work(tmp_path: Path) -> None:
    with pytest.raises(AgentcommError) as raised:
        api.evaluate(untrained(tmp_path), [], ["rekey", "shut_gate", "authenticate"])
    said: Any = str(raised.value)
    assert "authenticate+rekey" in said
    assert "authenticate+shut_gate" in said
