"""Plug-ins of others are checked before training and evaluation, quickly, once, and without a word if all is well."""

from __future__ import annotations

import time
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
import torch
from small import small
from torch import Tensor

from agentcomm import api
from agentcomm.base import registry
from agentcomm.base.errors import AgentcommError, ConfigError, ConformanceError, HookError
from agentcomm.base.plugin import Plugin, foreign
from agentcomm.conformance import check_attack, check_channel, check_codec, check_defense, check_metric, check_topology
from agentcomm.conformance import quick as quick_checks
from agentcomm.conformance.quick import check_foreign
from agentcomm.contracts.attack import Attack
from agentcomm.contracts.channel import Channel, ChannelEffect, ChannelInput
from agentcomm.contracts.codec import Codec, Coded
from agentcomm.contracts.defense import Defense
from agentcomm.contracts.edits import MessageEdits
from agentcomm.contracts.metric import Metric
from agentcomm.contracts.outcome import Episodes
from agentcomm.contracts.threat_model import Position, ThreatModel
from agentcomm.contracts.verdicts import Delivered, Verdicts
from agentcomm.contracts.views import MessageView
from agentcomm.contracts.world import Transition
from agentcomm.runs.choices import Choice, TransportConfig
from agentcomm.runs.folder import create
from envs.oracle_hint import OracleHint
from policies.commnet import CommNet

ENVIRONMENT, POLICY = Choice.model_validate({"name": "oracle_hint", "max_steps": 4}), Choice(name="commnet")


class NotANumber(Defense):
    order = "content"

    def screen(self, delivered: Delivered, memory: dict[str, Tensor]) -> Verdicts:
        return Verdicts(scale=torch.full(delivered.present.shape, torch.nan))


class NoVerdicts(NotANumber):
    def screen(self, delivered: Delivered, memory: dict[str, Tensor]) -> Verdicts:
        return None  # type: ignore[return-value]


class Overreaches(Attack):
    def threat_model(self) -> ThreatModel:
        return ThreatModel(Position(kind="edge"), frozenset({"read"}), budget=self.config.budget)

    def on_messages(self, view: MessageView) -> MessageEdits:
        return MessageEdits(drop=view.reach)


class Obeys(Overreaches):
    def threat_model(self) -> ThreatModel:
        return ThreatModel(Position(kind="edge"), frozenset({"drop"}), budget=self.config.budget)


class NoEdits(Obeys):
    def on_messages(self, view: MessageView) -> MessageEdits:
        return None  # type: ignore[return-value]


class Divides(Obeys):
    def on_messages(self, view: MessageView) -> MessageEdits:
        raise ZeroDivisionError("in a hook")


class Global(OracleHint):
    def advance(self, actions: Tensor, generator: torch.Generator) -> Transition:
        torch.rand(1)
        return super().advance(actions, generator)


class NoTransition(OracleHint):
    def advance(self, actions: Tensor, generator: torch.Generator) -> Transition:
        return None  # type: ignore[return-value]


class Mute(CommNet):
    def speak(self, hidden: Tensor, round_: int) -> Tensor:
        return None  # type: ignore[return-value]


class NoEffect(Channel):
    def carry(self, entering: ChannelInput, memory: dict[str, Tensor]) -> ChannelEffect:
        return None  # type: ignore[return-value]


class Uncoded(Codec):
    def encode(self, payload: Tensor, memory: dict[str, Tensor], step: Tensor, round_: int) -> Coded:
        return Coded(payload * torch.nan, torch.full(payload.shape[:2], 32))


class Backwards(Metric):
    better = "up"  # type: ignore[assignment]

    def value(self, episodes: Episodes) -> float:
        return 1.0


def add(monkeypatch: pytest.MonkeyPatch, axis: Any, plugin: type[Plugin]) -> Choice:
    monkeypatch.setitem(registry._registered, (axis, "mine"), plugin)
    monkeypatch.setattr(plugin, "name", "mine")
    monkeypatch.setattr(quick_checks, "_passed", set())
    return Choice(name="mine")


def check(axis: str, mine: Choice) -> None:
    """Check a run that uses the plug-in."""
    environment, policy = (
        mine if axis == name else usual for name, usual in (("environment", ENVIRONMENT), ("policy", POLICY))
    )
    attacks, defenses = ([mine] if axis == name else [] for name in ("attack", "defense"))
    transport = TransportConfig(channels=(mine,) if axis == "channel" else (), codec=mine if axis == "codec" else None)
    check_foreign(environment, policy, attacks, defenses, [transport])


@pytest.mark.parametrize(
    ("axis", "plugin", "error", "words"),
    [
        (
            "defense",
            NotANumber,
            ConformanceError,
            r"defense 'mine' breaks .*: scale is not finite \(.*test_quick\.py, line \d+, in screen\)",
        ),
        ("defense", NoVerdicts, HookError, r"defense 'mine': screen must return Verdicts\(\.\.\.\), but returned None"),
        ("attack", Overreaches, ConformanceError, "more than its threat model allows: .*drop without the power"),
        ("attack", NoEdits, HookError, "attack 'mine': on_messages must return MessageEdits.*but returned None"),
        ("attack", Divides, HookError, r"ZeroDivisionError: in a hook \(.*test_quick\.py, line \d+\)"),
        ("environment", Global, ConformanceError, "drawn from torch's global generator"),
        ("environment", NoTransition, HookError, "advance must return a Transition, but returned None"),
        ("policy", Mute, AgentcommError, "speak must return payloads .*, but returned None"),
        ("channel", NoEffect, HookError, "carry must return a ChannelEffect, but returned None"),
        ("codec", Uncoded, ConformanceError, "encoded as numbers that are not finite"),
        ("metric", Backwards, ConformanceError, "better is 'up'"),
    ],
)
def test_broken_plug_ins_stop_a_run(
    axis: str, plugin: type[Plugin], error: type[AgentcommError], words: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    with pytest.raises(error, match=words) as raised:
        check(axis, add(monkeypatch, axis, plugin))
    if error is ConformanceError:
        assert f"from {plugin.__module__} import {plugin.__name__}; check_" in str(raised.value)


def test_a_sound_plug_in_is_checked_once_and_quickly(
    monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    mine = add(monkeypatch, "attack", Obeys)
    began = time.process_time()
    check("attack", mine)
    assert time.process_time() - began < 2
    began = time.process_time()
    check("attack", mine)
    assert time.process_time() - began < 0.2
    assert capsys.readouterr() == ("", "")


def test_training_and_evaluation_check_first(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    add(monkeypatch, "attack", Overreaches)
    with pytest.raises(ConformanceError, match="threat model"):
        api.train(small(attacks=[{"name": "mine"}]), root=tmp_path)
    assert not list(tmp_path.iterdir()), "no run folder is left behind"
    with pytest.raises(ConformanceError, match="threat model"):
        api.evaluate(create(small(), tmp_path), ["mine"], [])


def test_the_testbeds_own_plug_ins_are_not_foreign() -> None:
    for axis in registry.AXES:
        assert not any(foreign(point.load()) for point in registry._announced(axis).values())
    assert foreign(Obeys)


@pytest.mark.parametrize(
    ("check_one", "plugin"),
    [
        (check_attack, Obeys),
        (check_defense, NotANumber),
        (check_channel, NoEffect),
        (check_codec, Uncoded),
        (check_metric, Backwards),
        (check_topology, registry.find("topology", "full")),
    ],
)
def test_wrong_arguments_of_checks_are_explained(check_one: Callable[..., None], plugin: type[Plugin]) -> None:
    if plugin is not Backwards:
        with pytest.raises(ConfigError, match="cannot be used:\n  bad: unknown key"):
            check_one(plugin, {"bad": 1})
    with pytest.raises(ConfigError, match=r"takes a class that derives from \w+, as check_\w+\(My\w+\); not 3"):
        check_one(3)
    with pytest.raises(ConfigError, match="takes a class that derives from"):
        check_one(OracleHint)
    with pytest.raises(ConfigError, match=r"arguments are a dict of names and values, not \['bad'\]"):
        check_one(plugin, ["bad"])
