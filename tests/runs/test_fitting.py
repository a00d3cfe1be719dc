"""Plug-ins say what they need, and are refused by name where they do not find it."""

from __future__ import annotations

import re
from typing import Any

import pytest
from small import small
from torch import Tensor

from agentcomm.base import registry
from agentcomm.base.errors import AgentcommError, ConfigError, HookError, RequirementError
from agentcomm.contracts.attack import Attack, AttackConfig
from agentcomm.contracts.defense import Defense
from agentcomm.contracts.edits import MessageEdits
from agentcomm.contracts.shape import TeamShape
from agentcomm.contracts.threat_model import Position, ThreatModel
from agentcomm.contracts.verdicts import Delivered, Verdicts
from agentcomm.contracts.views import MessageView, RewardView
from agentcomm.runs.assembly import check_training, make_comms, make_policy, make_world
from agentcomm.runs.choices import Choice, TransportConfig


def fit(attack: str = "", defenses: str = "", policy: dict[str, Any] | None = None, **transport: Any) -> None:
    """Set up a team of three agents with all links."""
    world = make_world(Choice.model_validate({"name": "predator_capture_prey", "max_steps": 5}), 2)
    full = {"name": "commnet", "width": 16, "topology": {"name": "full"}}
    team = make_policy(Choice.model_validate(policy or full), world)
    attacks = [Choice.parse(attack)] if attack else []
    chosen = [Choice.parse(defense) for defense in defenses.split("+") if defense]
    make_comms(world, team, attacks, chosen, transport=TransportConfig.model_validate(transport))


@pytest.mark.parametrize(
    ("defenses", "transport", "words"),
    [
        ("codeword", {}, "'codeword' cannot be used here: it needs codec 'vq'.*messages are not compressed"),
        ("codeword", {"codec": {"name": "int8"}}, "it needs codec 'vq'.*the codec is 'int8'"),
        (
            "codeword:groups=4",
            {"codec": {"name": "vq"}},
            r"another one than the codec's \(groups=4, not 8\)",
        ),
        ("codeword:seed=3", {"codec": {"name": "vq"}}, "seed=3, not 0"),
        ("quarantine", {}, r"another defense that refuses messages.*\(here: none\)"),
        ("clip+hold_last+quarantine", {}, r"another defense that refuses messages.*clip, hold_last"),
        ("median", {}, "inboxes of 3 messages or more, but agents of this team hear at most 2"),
        ("challenge", {}, "'challenge' cannot be used here: it needs a directory, but predator_capture_prey has none"),
        ("request_timeout", {}, "needs a directory"),
        ("last_good", {}, "needs a directory"),
        ("member_ratings", {}, "needs a directory"),
        ("sealed_traces", {}, "needs a directory"),
    ],
)
def test_defenses_that_cannot_work_are_refused(defenses: str, transport: dict[str, Any], words: str) -> None:
    with pytest.raises(RequirementError, match=words):
        fit(defenses=defenses, **transport)


@pytest.mark.parametrize(
    ("defenses", "transport"),
    [
        ("codeword", {"codec": {"name": "vq"}}),
        ("authenticate+quarantine", {}),
        ("median:least=2", {}),
        ("hold_last", {}),
        ("warden", {}),
    ],
)
def test_defenses_that_can_work_are_not(defenses: str, transport: dict[str, Any]) -> None:
    fit(defenses=defenses, **transport)


def test_a_control_is_trained_with_the_defenses_of_its_team() -> None:
    fit(defenses="median+authenticate+quarantine", policy={"name": "ippo"})


class Hookless(Attack):
    def threat_model(self) -> ThreatModel:
        return ThreatModel(Position(kind="edge"), frozenset({"drop"}))

    def on_message(self, view: MessageView) -> MessageEdits:  # a misspelt hook
        return MessageEdits(drop=view.reach)


class Powerless(Hookless):
    def on_rewards(self, view: RewardView) -> Tensor | None:
        return view.reward


class Divides(Hookless):
    def on_messages(self, view: MessageView) -> MessageEdits:
        return MessageEdits()

    def __init__(self, config: AttackConfig, team_shape: TeamShape) -> None:
        super().__init__(config, team_shape)
        self.share = 1 / 0


class Misplaced(Divides):
    def __init__(self, config: AttackConfig, team_shape: TeamShape) -> None:
        Attack.__init__(self, config, team_shape)

    def threat_model(self) -> ThreatModel:
        return ThreatModel(Position(kind="edgy"), frozenset({"drop"}))  # type: ignore[arg-type]


class Misspelt(Misplaced):
    def threat_model(self) -> ThreatModel:
        return ThreatModel(Position(kind="edge"), frozenset({"dropp"}))  # type: ignore[arg-type]


class Speechless(Misplaced):
    def threat_model(self) -> ThreatModel:
        ThreatModel(Position(kind="edge"), frozenset({"drop"}))  # returns nothing
        return None  # type: ignore[return-value]


class OutOfOrder(Defense):
    order = "contents"  # type: ignore[assignment]

    def screen(self, delivered: Delivered, memory: dict[str, Tensor]) -> Verdicts:
        return Verdicts()


@pytest.mark.parametrize(
    ("plugin", "error", "words"),
    [
        (Hookless, RequirementError, "'mine' cannot be used here: it overrides no hook, .*override on_messages, "),
        (Powerless, RequirementError, "on_rewards is called for power 'reward', but.*position 'edge' and powers: drop"),
        (Divides, HookError, r"'mine' failed in __init__: ZeroDivisionError: .*test_fitting\.py, line \d+\)"),
        (
            Misplaced,
            HookError,
            r"(?s)in threat_model: Position cannot be used:.*kind: .*'edgy'.*test_fitting\.py, line",
        ),
        (Misspelt, HookError, r"in threat_model: .*no power 'dropp'; did you mean 'drop'.*test_fitting\.py, line"),
        (Speechless, HookError, "threat_model must return a ThreatModel, but returned None"),
    ],
)
def test_broken_attacks_are_named(
    plugin: type[Attack], error: type[AgentcommError], words: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setitem(registry._registered, ("attack", "mine"), plugin)
    with pytest.raises(error, match=words) as raised:
        fit("mine")
    assert "pydantic" not in str(raised.value)
    assert "does not fit a team" not in str(raised.value)


def test_a_misspelt_order_is_named(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setitem(registry._registered, ("defense", "mine"), OutOfOrder)
    with pytest.raises(RequirementError, match=r"'mine' .*its order is 'contents'; choose one of schema, authenticate"):
        fit(defenses="mine")


def test_what_does_not_fit_the_team_is_the_plug_in_alone() -> None:
    with pytest.raises(ConfigError, match=re.escape("attack 'infer(node=7)' does not fit a team of 3: node=7")):
        fit("infer:node=7", "clip")
    with pytest.raises(ConfigError, match=re.escape("attack 'delay(node=7)' does not fit a team of 3: position node")):
        fit("delay:node=7")


def test_training_under_an_attack_without_effect_is_refused() -> None:
    config = small(policy={"name": "commformer", "width": 16}, attacks=[{"name": "force_gate"}])
    with pytest.raises(RequirementError, match=r"training under attack 'force_gate' .*this team has no gates"):
        check_training(config)
    check_training(small(attacks=[{"name": "force_gate"}, {"name": "backdoor"}]))


@pytest.mark.parametrize("name", ["learned", "mask"])
def test_trained_attackers_need_a_policy(name: str) -> None:
    with pytest.raises(ConfigError, match="policy=<folder of a trained attacker> is needed, or untrained=true"):
        fit(name)


@pytest.mark.parametrize(
    ("planned", "words"),
    [
        ({"defenses": [["codeword"]]}, "'codeword' cannot be used here: it needs codec 'vq'"),
        ({"attacks": ["fragment"]}, "'fragment' cannot be used here"),
        ({"defenses": [["codeword"]], "transports": [{"codec": "vq"}]}, None),
        ({"attacks": ["fragment"], "transports": [{"channels": ["fragments"]}]}, None),
        ({"attacks": ["mask:policy=trained_later"]}, None),
    ],
)
def test_what_cannot_be_evaluated_is_refused_before_training(planned: dict[str, Any], words: str | None) -> None:
    config = small(evaluation={"episodes": 8} | planned)
    if words is None:
        check_training(config)
    else:
        with pytest.raises(RequirementError, match=words):
            check_training(config)
