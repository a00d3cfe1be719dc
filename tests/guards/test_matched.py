"""Matched controls spend what their attacks spend, and differ from them in nothing but what chance decides."""

from __future__ import annotations

from typing import Any

import pytest
import torch
from builders import Attacked, Scripted, comms, conversation, known_attack, team_shape
from forms import KINDS, MESSAGE_FORMS, TEAM_FORMS, attack_forms
from thinning import one_of_each_plugin, thinned
from torch import Tensor

from agentcomm.base import registry
from agentcomm.conformance.conversations import heard, reader
from agentcomm.contracts.edits import MessageEdits
from agentcomm.contracts.threat_model import Budget, Position
from agentcomm.contracts.views import MessageView
from agentcomm.evaluation.exfiltration import exfiltrates
from agentcomm.evaluation.success import needs_silence, touches
from agentcomm.guards.matched import direction, other_actions, readings, shuffled

FAST_FORMS = {*one_of_each_plugin({form: attack_forms()[form] for form in MESSAGE_FORMS}), *KINDS}
LOST = ("dropped", "delayed", "forged", "replayed", "fragments", "injected_bytes")


def generator(seed: int = 0) -> torch.Generator:
    return torch.Generator().manual_seed(seed)


def under(form: str, run_as: str, transport: str = "batch") -> Attacked:
    """The message layer of a team under a form of attack, its control, or in silence, as evaluation builds it."""
    s = team_shape(32, 4, 2)
    made = known_attack(
        form, s, **({"run_as": run_as} if registry.find("attack", attack_forms()[form][0]).own_control else {})
    )
    n = comms(s, [made], transport=transport)
    n.guards[0].run_as = run_as  # type: ignore[assignment]
    return n


def talk(n: Attacked, exchanges: list[Any]) -> list[Tensor]:
    return [heard(n.exchange(e.spoken, e.links, e.step, e.round, reader)) for e in exchanges]


@pytest.mark.parametrize("form", thinned(MESSAGE_FORMS, FAST_FORMS))
def test_a_control_spends_what_its_attack_spends(form: str) -> None:
    """Attacks do not see what becomes of their edits within a conversation, so both spend the same throughout."""
    exchanges = conversation(team_shape(32, 4, 2), 5, ends=0.0)
    both = {run_as: under(form, run_as) for run_as in ("attack", "control")}
    for n in both.values():
        talk(n, exchanges)
    attack, control = both.values()
    assert torch.equal(attack.guards[0].spent, control.guards[0].spent)
    assert attack.guards[0].spent.any()
    for name in LOST:
        assert torch.equal(attack.ledger[name], control.ledger[name]) or name == "dropped", name
    assert int(attack.ledger["dropped"].sum()) == int(control.ledger["dropped"].sum())
    norms = [n.guards[0].spending.totals()[1] for n in both.values()]
    assert norms[0] == pytest.approx(norms[1], rel=1e-4)
    assert set(control.guards[0].violations) <= {"beyond the budget"}


@pytest.mark.parametrize("form", ["tamper", "gradient", "drop", "reorder", "impersonate", "replay"])
def test_both_transports_agree_on_a_control(form: str) -> None:
    exchanges = conversation(team_shape(32, 4, 2), 3, ends=0.0)
    said = [talk(under(form, "control", transport), exchanges) for transport in ("batch", "objects")]
    assert all(map(torch.equal, *said))


@pytest.mark.parametrize("form", ["tamper", "delay", "replay", "drop", "insider"])
def test_in_silence_nothing_is_heard_but_untouched_messages(form: str) -> None:
    form = next(known for known in MESSAGE_FORMS if known.startswith(form))
    exchanges = conversation(team_shape(32, 4, 2), 5, ends=0.0)
    silent, attack, clean = under(form, "silence"), under(form, "attack"), comms(team_shape(32, 4, 2))
    got, plain = talk(silent, exchanges), talk(clean, exchanges)
    talk(attack, exchanges)
    for one, other in zip(got, plain, strict=True):
        kept = one[:, :, :2].any(-1)
        assert torch.equal(one[:, :, :2][kept], other[kept])
    fates = ("dropped", "delayed", "tampered")
    assert silent.ledger["dropped"].sum() == sum(attack.ledger[fate].sum() for fate in fates)
    assert not sum(silent.ledger[fate].sum() for fate in ("forged", "replayed", "delayed", "tampered"))
    assert touches(attack.guards[0])
    assert needs_silence(attack.guards[0]) == (form != "drop")


def test_chosen_messages_are_dropped_at_random_by_the_control() -> None:
    def first(view: MessageView) -> MessageEdits:
        drop = torch.zeros_like(view.reach)
        drop[:, 0] = view.reach[:, 0]
        return MessageEdits(drop=drop)

    s = team_shape(400, 4, 2, rounds=1)
    n = comms(s, [Scripted(s, {"drop"}, first, injections=0)])
    n.guards[0].run_as = "control"
    (exchange,) = conversation(s, 1, closed=0.0)
    got = talk(n, [exchange])[0].any(-1)
    assert (~got).flatten(1).sum(1).eq(2).all()
    assert (~got).float().mean((0, 2)).tolist() == pytest.approx([0.25] * 4, abs=0.06)


def test_a_direction_is_uniform_and_keeps_norm_and_bounds() -> None:
    change = torch.randn(2000, 6, generator=generator())
    free = direction(change, generator(1), -torch.inf, torch.inf)
    assert torch.allclose(free.norm(dim=1), change.norm(dim=1))
    cosine = torch.cosine_similarity(free, change)
    assert abs(float(cosine.mean())) < 0.03
    assert float(cosine.var()) == pytest.approx(1 / 6, abs=0.02), "of a uniform direction in six dimensions"
    for size in (change.clamp(-0.5, 0.5), 0.5 * change.sign(), 0 * change):
        held = direction(size, generator(2), -0.5, 0.5)
        assert torch.allclose(held.norm(dim=1), size.norm(dim=1), atol=1e-5)
        assert float(held.abs().max()) <= 0.5
    room = torch.rand(2000, 6, generator=generator(3))
    held = direction(0.9 - room, generator(4), -room, 1 - room)
    assert torch.allclose(held.norm(dim=1), (0.9 - room).norm(dim=1), atol=1e-5)
    assert bool((room + held).ge(-1e-6).all() & (room + held).le(1 + 1e-6).all())


def test_worlds_do_not_depend_on_each_others_changes() -> None:
    change = torch.randn(4, 6, generator=generator())
    other = change.clone()
    other[1:] *= 9
    one, two = (direction(x, generator(1), -1.0, 1.0) for x in (change.clamp(-1, 1), other.clamp(-1, 1)))
    assert torch.equal(one[0], two[0])


def test_edits_move_within_reach_and_readings_are_possible() -> None:
    reach = torch.rand(300, 4, 3, generator=generator()) < 0.6
    edits = torch.randint(4, reach.shape, generator=generator(1)) * reach
    moved = shuffled(edits, reach, generator(2))
    assert not (moved[~reach] != 0).any()
    assert torch.equal(moved.flatten(1).sort(1).values, edits.flatten(1).sort(1).values)
    possible = torch.rand(4, 5, 8, generator=generator(3)) < 0.5
    seen = torch.randint(-1, 7, (300, 4, 5), generator=generator(4))
    other = possible.expand(300, -1, -1, -1).scatter(3, seen.unsqueeze(-1) + 1, False)
    changed = other.any(-1) & (torch.rand(seen.shape, generator=generator(5)) < 0.4)
    where, shown = readings(changed, seen, possible, generator(6))
    assert torch.equal(where.sum(-1), changed.sum(-1))
    assert other.gather(3, shown.unsqueeze(-1) + 1).squeeze(-1)[where].all()


def test_other_actions_are_uniform_and_other() -> None:
    action = torch.randint(5, (4000,), generator=generator())
    luck = torch.rand(4000, generator=generator(1))
    other = other_actions(action, torch.ones_like(action, dtype=torch.bool), 5, luck)
    assert not (other == action).any()
    assert ((other - action) % 5).bincount().tolist() == pytest.approx([0, 1000, 1000, 1000, 1000], abs=120)


def test_every_attack_with_another_objective_than_the_score_has_a_predicate() -> None:
    """Except those that are for training, or whose target is the worst action, which costs score."""
    s = team_shape(2, 4, 2)
    for form in TEAM_FORMS:
        made = known_attack(form, s)
        threat = made.threat_model()
        if threat.objective == "exfiltrate":
            assert made.secrets() > 1 or exfiltrates(made)
        elif threat.objective == "targeted" and made.name not in ("hijack_edges",):
            assert made.predicate() is not None or made.config.goal == "worst", form  # type: ignore[attr-defined]


def test_a_budget_holds_a_control_as_well() -> None:
    s = team_shape(8, 4, 2)

    def far(view: MessageView) -> MessageEdits:
        return MessageEdits(modify=view.reach, change=torch.full((*view.reach.shape, view.width), 3.0))

    limit = Budget(norm=0.5, length=1.0, per_step=3)
    n = comms(s, [Scripted(s, {"modify"}, far, Position(kind="edge"), limit, injections=0)])
    clean, n.guards[0].run_as = comms(s), "control"
    exchanges = conversation(s, 2, ends=0.0)
    for one, other in zip(talk(n, exchanges), talk(clean, exchanges), strict=True):
        assert float((one[:, :, :2] - other).abs().max()) <= 0.5 + 1e-6
        assert float((one[:, :, :2] - other).norm(dim=-1).max()) <= 1.0 + 1e-5
    assert (n.guards[0].spent == 3 * 2).all()
