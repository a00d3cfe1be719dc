"""Fragments that an attack puts on the wire: into buffers, within its threat model, and counted."""

from __future__ import annotations

from math import ceil
from typing import Any

import pytest
import torch
from builders import Attacked, Scripted, attack, channel, comms, team, team_shape, team_shape_of
from torch import Tensor

from agentcomm.base.errors import ConfigError
from agentcomm.conformance.conversations import carry, conversation, same_heard
from agentcomm.contracts.attack import Attack
from agentcomm.contracts.channel import ChannelInput
from agentcomm.contracts.edits import Fragments, MessageEdits
from agentcomm.contracts.fragments import ForgedFragments
from agentcomm.contracts.shape import TeamShape
from agentcomm.contracts.threat_model import Position
from agentcomm.contracts.traffic import HOPS
from agentcomm.contracts.views import MessageView
from agentcomm.runs.assembly import make_comms
from agentcomm.runs.choices import Choice, TransportConfig
from agentcomm.runs.ppo_settings import PPOSettings
from agentcomm.step.replay import reevaluate
from agentcomm.training.rollout import Sampler

CHANNEL: dict[str, Any] = {"mtu": 28, "header": 8, "loss": 0.01, "buffers": 4, "timeout": 12}
FORMS: dict[str, dict[str, Any]] = {
    "early": {"how": "early"},
    "header": {"how": "header", "rate": 2.0},
    "fake": {"how": "fake", "rate": 2.0, "place": "newcomer"},
    "middle": {"how": "middle", "probability": 0.7},
}


def network(s: TeamShape, *attacks: Attack, seed: int = 0, **more: Any) -> Attacked:
    slots = s.degree + sum(a.injections() for a in attacks)
    return comms(s, attacks, seed=seed, channels=[channel("fragments", s, slots, **(CHANNEL | more))])


def delivered(n: Attacked) -> float:
    return int(n.ledger["accepted"].sum()) / int(n.ledger["sent"].sum())


def test_buffers_fill_as_in_a_loop() -> None:
    worlds, agents, slots, loss, buffers, timeout = 6, 3, 4, 0.2, 2, 3
    s = team_shape(worlds=worlds, agents=agents)
    c = channel("fragments", s, slots, mtu=28, header=8, loss=loss, buffers=buffers, timeout=timeout)
    g, mirror = torch.Generator().manual_seed(5), torch.Generator().manual_seed(5)
    h, memory = torch.Generator().manual_seed(6), c.memory()
    shape = (worlds, agents, slots)
    held: dict[tuple[int, int], list[int]] = {}
    fates: dict[str, int] = dict.fromkeys(("early", "middle", "starved", "whole"), 0)
    for step in range(60):
        present, size = torch.rand(shape, generator=h) < 0.8, torch.randint(10, 90, shape, generator=h)
        begin = (torch.rand(shape, generator=h) < 0.1).long()
        early, middle = (torch.rand(shape, generator=h) < 0.1 for _ in range(2))
        at, zero = torch.full((worlds,), step), size * 0
        forged = ForgedFragments(begin, zero, early, middle, ~present & present, zero, ~present & present)
        entering = ChannelInput(present, zero, size, zero + HOPS, at, 0.1, 0, g, forged)
        lost = c.carry(entering, memory).lost
        chance = torch.rand(shape, generator=mirror)
        assert lost is not None
        for where in torch.cartesian_prod(*map(torch.arange, shape)).tolist():
            places = held.setdefault((where[0], where[1]), [])
            places[:] = [until for until in places if until > step]
            p = tuple(where)
            for _ in range(int(begin[p]) + int(early[p])):
                if len(places) < buffers:
                    places.append(step + timeout)
            if not present[p]:
                continue
            packets = 1 if size[p] <= 28 else ceil(int(size[p]) / 20)
            comes = float(chance[p]) < (1 - loss) ** packets
            if packets == 1:
                assert bool(lost[p]) == (not comes)
                continue
            if early[p]:
                fates["early"] += comes
                comes = False
            elif len(places) == buffers:
                fates["starved"] += comes
                comes = False
            elif comes:
                fates["middle"] += bool(middle[p])
                comes = not bool(middle[p])
            elif float(chance[p]) < 1 - loss**packets:
                places.append(step + timeout)
            fates["whole"] += comes
            assert bool(lost[p]) == (not comes)
    assert min(fates.values()) > 15, fates


def test_each_attack_keeps_messages_from_arriving() -> None:
    """In the order of arXiv 2506.01767's kinds that a model of six senders and four buffers has (5 fragments each)."""
    s = team_shape(worlds=64, agents=7, degree=6, width=16, rounds=1)
    exchanges = conversation(s, 60, closed=0.0, ends=0.0)
    share = {}
    for form, arguments in {"none": None, **FORMS}.items():
        n = network(s, *([] if arguments is None else [attack("fragment", s, **arguments)]))
        carry(n, exchanges)
        share[form] = delivered(n)
        assert (int(n.ledger["fragments"].sum()) > 0) == (form != "none")
        assert not any(guard.violations for guard in n.guards)
        assert not n.ledger["forged"].any(), "a fragment is no message"
    assert share["none"] > 0.6
    assert share["early"] < 0.02
    assert share["header"] < share["fake"] < 0.4
    assert abs(share["middle"] - 0.3 * share["none"]) < 0.03


def test_fragments_hit_only_what_is_cut() -> None:
    s = team_shape(worlds=16)
    for form in ("early", "middle", "header", "fake"):
        n = network(s, attack("fragment", s, **FORMS[form]), mtu=2000, loss=0.0)
        carry(n, conversation(s, 20))
        assert delivered(n) == 1


def test_on_some_links_the_others_are_left_alone() -> None:
    s = team_shape()

    def edits(view: MessageView) -> MessageEdits:
        everywhere = torch.ones_like(view.reach)
        return MessageEdits(fragments=Fragments(everywhere.long(), everywhere, everywhere))

    position = Position(kind="edge", links=((2, 0),))
    n = network(s, Scripted(s, ["inject"], edits, position, injections=0), loss=0.0, buffers=64)
    for e, inbox in zip(exchanges := conversation(s, 8), carry(n, exchanges), strict=True):
        hit = (e.links.source == 2) & (torch.arange(s.num_agents).view(1, -1, 1) == 0)
        assert torch.equal(inbox.mask, e.links.present & ~hit)
    assert n.guards[0].violations["fragments out of reach"] > 0


@pytest.mark.parametrize(
    ("powers", "position", "rule"),
    [
        (["read", "drop"], "edge", "fragments without the power to inject"),
        (["read", "inject"], "observer", "fragments from position observer"),
        (["read", "replay"], "edge", "fragments of what it has not seen"),
    ],
)
def test_the_guard_holds_fragments_to_the_threat_model(powers: Any, position: Any, rule: str) -> None:
    s = team_shape()

    def edits(view: MessageView) -> MessageEdits:
        none = torch.zeros_like(view.reach)
        return MessageEdits(fragments=Fragments(none.long(), ~none, none))

    n = network(s, Scripted(s, powers, edits, Position(kind=position), injections=0), loss=0.0)
    carry(n, conversation(s, 6))
    assert n.guards[0].violations[rule] > 0
    assert not n.ledger["fragments"].any()
    assert delivered(n) == 1


def test_headers_are_replayed_only_after_they_were_read() -> None:
    s = team_shape(rounds=1)

    def edits(view: MessageView) -> MessageEdits:
        none = torch.zeros_like(view.reach)
        return MessageEdits(fragments=Fragments(none.long() + (view.step == 0).view(-1, 1, 1), none, none))

    n = network(s, Scripted(s, ["read", "replay"], edits, injections=0), loss=0.0)
    first = conversation(s, 1, closed=1.0)  # nobody speaks: there is nothing to replay
    carry(n, first)
    assert not n.ledger["fragments"].any()
    assert n.guards[0].violations["fragments of what it has not seen"] > 0


@pytest.mark.parametrize("form", FORMS)
@pytest.mark.parametrize("budget", [{"per_step": 0}, {"per_episode": 3}, {"per_step": 2}])
def test_fragments_are_paid_for(form: str, budget: dict[str, int]) -> None:
    s = team_shape()
    n = network(s, attack("fragment", s, **FORMS[form], budget=budget))
    clean = network(s)
    exchanges = conversation(s, 12, ends=0.0)
    got, expected = carry(n, exchanges), carry(clean, exchanges)
    spent = n.ledger["fragments"]
    assert torch.equal(spent, n.guards[0].spent)
    if budget.get("per_step") == 0:
        assert not spent.any()
        assert same_heard(got, expected)
    else:
        assert (spent <= budget.get("per_episode", 12 * 2)).all()
        assert spent.any()


@pytest.mark.parametrize("form", FORMS)
def test_the_control_sends_as_many_fragments_and_leaves_buffers_alone(form: str) -> None:
    s = team_shape()
    control, clean = network(s, attack("fragment", s, **FORMS[form], run_as="control")), network(s)
    exchanges = conversation(s, 12, ends=0.0)
    for a, b in zip(carry(control, exchanges), carry(clean, exchanges), strict=True):
        assert same_heard([a], [b])
    assert control.guards[0].spent.all()
    assert torch.equal(control.ledger["fragments"], control.guards[0].total)


@pytest.mark.parametrize("form", FORMS)
def test_a_restored_run_goes_on_alike(form: str) -> None:
    s = team_shape()
    exchanges = conversation(s, 12)
    whole, half = network(s, attack("fragment", s, **FORMS[form])), network(s, attack("fragment", s, **FORMS[form]))
    inboxes = carry(whole, exchanges)
    carry(half, exchanges[:12])
    again = network(s, attack("fragment", s, **FORMS[form]), seed=9)
    again.keyring = half.keyring
    again.restore(half.snapshot())
    rest = carry(again, exchanges[12:])
    assert same_heard(inboxes[12:], rest)


def test_without_a_channel_that_cuts_it_is_refused() -> None:
    world, policy = team()
    choice = Choice.model_validate({"name": "fragment"})
    with pytest.raises(ConfigError, match="acts on fragments, but no channel fragments messages"):
        make_comms(world, policy, [choice])
    with pytest.raises(ConfigError, match="acts on fragments"):
        make_comms(world, policy, [choice], transport=TransportConfig.model_validate({"channels": [{"name": "loss"}]}))
    make_comms(world, policy, [choice], transport=TransportConfig.model_validate({"channels": [{"name": "fragments"}]}))
    with pytest.raises(ConfigError, match="reads nothing"):
        make_comms(
            world,
            policy,
            [Choice.model_validate({"name": "fragment", "how": "header", "place": "newcomer"})],
            transport=TransportConfig.model_validate({"channels": [{"name": "fragments"}]}),
        )


def ratio_error(policy: Any, columns: dict[str, Tensor]) -> float:
    again = reevaluate(policy, columns)
    return float((again.log_probability.detach() - columns["log_probability"]).abs().max())


@pytest.mark.parametrize("form", FORMS)
def test_training_replays_what_arrived(form: str) -> None:
    world, policy = team()
    s = team_shape_of(world, policy)
    n = network(s, attack("fragment", s, **FORMS[form]))
    fragment = Sampler(world, policy, n, PPOSettings(held_out=0.25), 0).collect(10)
    assert fragment.messages["fragments"] > 0
    assert fragment.messages["lost"] > 0
    assert ratio_error(policy, fragment.columns) < 1e-5
