"""Errors in plug-ins' code name the plug-in, the file and the line, without words of libraries."""

from __future__ import annotations

import importlib
from pathlib import Path
from typing import Any

import pytest
from pydantic import field_validator
from small import small

from agentcomm.base import calling as errors_in_calls
from agentcomm.base.calling import PACKAGE, answered, calling, described
from agentcomm.base.errors import ConfigError, HookError
from agentcomm.base.plugin import PluginConfig
from agentcomm.base.registry import config_of
from agentcomm.contracts.attack import Attack, AttackConfig
from agentcomm.contracts.threat_model import Position
from agentcomm.runs.config import RunConfig


def test_the_place_is_the_plug_ins_and_not_the_librarys() -> None:
    with pytest.raises(HookError) as raised, calling("attack 'mine'", "threat_model"):
        Position(kind="edgy")  # type: ignore[arg-type]
    text = str(raised.value)
    assert text.startswith("attack 'mine' failed in threat_model: Position cannot be used:\n  kind: ")
    assert f"({__file__}, line " in text
    assert "http" not in text


def test_a_syntax_error_is_placed_where_it_is() -> None:
    with pytest.raises(SyntaxError) as raised:
        compile("x = 1\nif:", "/some/where.py", "exec")
    assert described(raised.value) == "SyntaxError: invalid syntax (/some/where.py, line 2)"


def test_wrong_answers_are_named() -> None:
    assert answered(3, int, "policy 'mine'", "speak", "payloads") == 3
    with pytest.raises(HookError, match=r"policy 'mine': speak must return payloads, but returned None \(is a return"):
        answered(None, int, "policy 'mine'", "speak", "payloads")
    with pytest.raises(HookError, match="but returned a str"):
        answered("x", int, "policy 'mine'", "speak", "payloads")


class RaisingConfig(AttackConfig):
    strength: int = 1

    @field_validator("strength")
    @classmethod
    def _raise(cls, value: int) -> int:
        return {1: 1}[value]


class Raising(Attack[RaisingConfig]):
    pass


def test_an_error_in_a_validator_names_its_line() -> None:
    with pytest.raises(HookError, match=r"'raising' failed in its config: KeyError: 2 \(.*test_calling\.py, line"):
        config_of(Raising, {"strength": 2}, "attack 'raising'")
    assert isinstance(config_of(Raising, {}, "attack 'raising'"), PluginConfig)


@pytest.mark.parametrize(
    ("source", "words"),
    [
        ("x = 1\n1 / 0", "ZeroDivisionError: division by zero .*line 2"),
        ("x = 1\ndef broken(:", "SyntaxError: .*line 2"),
        ("import nowhere_at_all", "No module named 'nowhere_at_all'.*line 1"),
        ("raise SystemExit(1)", "SystemExit: 1 .*line 1"),
    ],
)
def test_modules_of_plug_ins_that_fail_are_named(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, source: str, words: str
) -> None:
    name = f"broken_{abs(hash(source))}"
    (tmp_path / f"{name}.py").write_text(source)
    monkeypatch.syspath_prepend(str(tmp_path))
    config: RunConfig = small().model_copy(update={"plugins": (name,)})
    with pytest.raises(ConfigError, match=f"plugins: cannot import '{name}': .*{words}"):
        config.import_plugins()


CALLS = """import torch
from policies.parts.token_encoder import TokenEncoder

def in_torch():
    return torch.nn.functional.layer_norm(torch.zeros(2), (3,))

def in_the_testbed():
    return TokenEncoder(None, 1, 2)
"""


@pytest.mark.parametrize("folder", ["own", "site-packages"])
@pytest.mark.parametrize(("function", "line"), [("in_torch", 5), ("in_the_testbed", 8)])
def test_the_place_is_the_line_of_a_plug_in_that_called_a_library(
    folder: str, function: str, line: int, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Also if it is installed, and if what it called is a part of the testbed."""
    target, name = tmp_path / folder, f"theirs_{folder[:3]}_{function}"
    (target / "theirs-1.dist-info").mkdir(parents=True)
    (target / f"{name}.py").write_text(CALLS)
    (target / "theirs-1.dist-info" / "METADATA").write_text("Metadata-Version: 2.1\nName: theirs\nVersion: 1\n")
    (target / "theirs-1.dist-info" / "entry_points.txt").write_text(f"[agentcomm.attacks]\nx = {name}:X\n")
    monkeypatch.syspath_prepend(str(target))
    monkeypatch.setattr(errors_in_calls, "_announcing", errors_in_calls._announcing.__wrapped__)
    caller: dict[str, Any] = {"calling": calling}  # as if it were code of the testbed
    exec(compile("def call(hook):\n with calling('attack', 'hook'): hook()", PACKAGE / "caller.py", "exec"), caller)
    with pytest.raises(HookError) as raised:
        caller["call"](getattr(importlib.import_module(name), function))
    assert str(raised.value).endswith(f"({target / name}.py, line {line})")
