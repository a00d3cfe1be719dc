"""Attacks on what messages mean, and on what they tell besides: directive, rewrite, infer, leak."""

from __future__ import annotations

from dataclasses import replace
from typing import Any

import pytest
import torch
from builders import attack, comms, team, team_shape, team_shape_of

from agentcomm.base.errors import ConfigError
from agentcomm.base.registry import build_config
from agentcomm.conformance.conversations import carry, conversation, heard
from agentcomm.contracts.outcome import Episodes
from agentcomm.evaluation.leakage import CovertLeak, Intercepted, measure_covert_leak
from agentcomm.evaluation.play import play
from agentcomm.runs.choices import PLAIN_TRANSPORT, Choice
from agentcomm.runs.policy_file import SavedPolicy
from agentcomm.step.decide import decide
from agentcomm.step.interpreter import directive, threshold
from attacks.insider.directive import along
from attacks.ml.rewrite import turn

# ---- directive


def likeness(payload: torch.Tensor, action: int) -> torch.Tensor:
    return torch.nn.functional.cosine_similarity(payload, directive(action, payload.shape[-1]), dim=-1)


def test_an_outsider_tells_everybody_and_a_node_everybody_else() -> None:
    s = team_shape(worlds=2)
    exchanges = conversation(s, 3, closed=0, ends=0)
    for node, told in ((None, [True] * 4), (1, [True, False, True, True])):
        network = comms(s, [attack("directive", s, action=2, node=node)])
        for inbox in carry(network, exchanges):
            spare = inbox.mask[..., s.degree]
            assert (spare == torch.tensor(told)).all()
            assert (likeness(inbox.payload()[..., s.degree, :], 2)[spare] > 0.999).all()
    network = comms(s, [attack("directive", s, targets=[3])])
    inboxes = carry(network, exchanges)
    assert inboxes[0].mask[0, :, s.degree].tolist() == [False, False, False, True]


def test_a_hidden_directive_is_just_plain_enough_and_takes_no_more_than_it_may() -> None:
    s = team_shape(worlds=16, width=32)
    exchanges = conversation(s, 4, closed=0)
    counts = []
    for length in (0.5, 4.0, 8.0):
        network = comms(s, [attack("directive", s, action=1, node=2, hidden=True, length=length)])
        bent = 0
        for e, inbox in zip(exchanges, carry(network, exchanges), strict=True):
            before = heard(comms(s).exchange(e.spoken, e.links, e.step, e.round))
            change = (heard(inbox) - before).norm(dim=-1)
            changed = change > 1e-6
            assert (change <= length + 1e-4).all()
            assert (e.links.source == 2)[changed].all()
            assert (likeness(inbox.payload(), 1)[changed] > threshold(32)).all()
            bent += int(changed.sum())
        assert not network.guards[0].violations
        counts.append(bent)
    assert counts[0] == 0 < counts[1] < counts[2]


def test_the_shortest_way_to_a_directive() -> None:
    payload, word = torch.randn(100, 16), directive(0, 16)
    change = along(payload, word, 0.6)
    needed = likeness(payload, 0) < 0.6
    torch.testing.assert_close(likeness(payload + change, 0)[needed], torch.full((int(needed.sum()),), 0.6))
    assert not change[~needed].any()


def test_a_directive_succeeds_where_it_is_done_more_often_than_without_it() -> None:
    made = attack("directive", team_shape(), action=1)
    world, policy = team(3)
    clean = play(world, policy, comms(team_shape_of(world, policy)), 0)
    counts = torch.tensor([[4, 4, 0], [4, 4, 0], [0, 4, 0]])
    attacked = replace(clean, actions=torch.tensor([[3, 5, 0], [6, 6, 0], [0, 9, 0]]))
    assert made.succeeded(attacked, replace(clean, actions=counts)).tolist() == [True, False, False]
    with pytest.raises(ValueError, match="action=7 is none of the team's 3"):
        attack("directive", team_shape(), action=7).succeeded(attacked, attacked)


@pytest.mark.parametrize(
    ("arguments", "says"), [({"hidden": True}, "hidden=true needs node"), ({"probability": 2}, "probability")]
)
def test_directives_that_cannot_be_are_refused(arguments: dict[str, Any], says: str) -> None:
    with pytest.raises(ConfigError, match=says):
        build_config("attack", "directive", arguments)
    with pytest.raises(ValueError, match="targets \\[4\\]"):
        attack("directive", team_shape(), targets=[4])


# ---- rewrite


def test_a_turn_keeps_length_and_bound_and_goes_where_it_is_sent() -> None:
    payload, change = torch.randn(200, 12), torch.randn(200, 12)
    payload[0] = 0
    for epsilon in (0.0, 0.5, 2.0, 100.0):
        turned = turn(payload, change, epsilon)
        torch.testing.assert_close((payload + turned).norm(dim=-1), payload.norm(dim=-1), rtol=1e-4, atol=1e-4)
        assert (turned.norm(dim=-1) <= epsilon + 1e-4).all()
    towards = torch.nn.functional.normalize(payload + change, dim=-1)
    torch.testing.assert_close((payload + turned)[1:], (towards * payload.norm(dim=-1, keepdim=True))[1:])


def test_a_rewrite_keeps_every_length_and_means_more_than_a_random_one_of_its_size() -> None:
    world, policy = team(worlds=32)
    s = team_shape_of(world, policy)
    graph = policy.topology.graph(None, 32)
    observation, at = world.reset(seed=1), torch.zeros(32, dtype=torch.int64)
    clean = decide(policy, observation, graph, comms(s), at, None)
    best = clean.logits.argmax(-1, keepdim=True)

    def lost(blind: bool) -> tuple[float, torch.Tensor]:
        """By how much the best action's log-probability falls, and how long the changes were."""
        network = comms(s, [attack("rewrite", s, epsilon=1.0, blind=blind)])
        found = decide(policy, observation, graph, network, at, None)
        assert not network.guards[0].violations
        after, before = found.inboxes[0].payload(), clean.inboxes[0].payload()
        there = clean.inboxes[0].mask
        torch.testing.assert_close(after[there].norm(dim=-1), before[there].norm(dim=-1), rtol=1e-4, atol=1e-4)
        fallen = clean.logits.log_softmax(-1) - found.logits.log_softmax(-1)
        return float(fallen.gather(-1, best).mean()), (after - before)[there].norm(dim=-1)

    (clever, its), (blind, others) = lost(False), lost(True)
    assert clever > 3 * abs(blind)
    assert clever > 0.01
    torch.testing.assert_close(others, torch.ones_like(others), rtol=1e-3, atol=1e-3)
    assert its.max() <= 1 + 1e-4


# ---- infer


def test_a_curious_member_hears_its_own_inbox_only() -> None:
    s = team_shape()
    exchanges = conversation(s, 3)
    network = comms(s, [attack("infer", s, node=2)])
    network.adversary.message_guards[0].trace = []
    carry(network, exchanges)
    for e, view in zip(exchanges, network.adversary.message_guards[0].trace, strict=True):
        mine = e.links.present.clone()
        mine[:, [0, 1, 3]] = False
        assert torch.equal(view.reach, mine)
        assert not view.payload[~mine].any()
    assert not network.ledger["tampered"].any()
    with pytest.raises(ValueError, match="node=4 is not an agent"):
        attack("infer", s, node=4)


def samples() -> Intercepted:
    """Three episodes of two, three and three steps of two agents; what is said names its sample."""
    rows = [(e, a, t) for e, steps in enumerate((2, 3, 3)) for t in range(steps) for a in range(2)]
    episode, agent, step = torch.tensor(rows).T
    said = (100.0 * episode + 10 * agent + step).unsqueeze(1) + 1
    return Intercepted(episode, agent, step, said, torch.zeros(len(rows), 2), {})


def test_several_queries_are_the_last_so_many_steps() -> None:
    found, one = samples().combined(2), samples()
    for number, (e, a, t) in enumerate(zip(one.episode.tolist(), one.agent.tolist(), one.step.tolist(), strict=True)):
        now = 100.0 * e + 10 * a + t + 1
        assert found.payloads[number].tolist() == [now, now - 1 if t else 0.0]
    assert torch.equal(one.combined(1).payloads, one.payloads)


def test_shuffled_messages_stay_with_their_agent_and_step() -> None:
    one = samples()
    dealt = one.shuffled(1).payloads - 1
    assert torch.equal(dealt.squeeze(1).sort().values, (one.payloads - 1).squeeze(1).sort().values)
    assert torch.equal(dealt.squeeze(1) % 100, (10 * one.agent + one.step).float())
    assert not torch.equal(dealt, one.payloads - 1)


# ---- leak


def told() -> tuple[CovertLeak, Episodes]:
    world, policy = team(64)
    environment = Choice.model_validate({"name": "predator_capture_prey", "size": 4, "max_steps": 7})
    saved = SavedPolicy(policy, environment, Choice(name="commformer"), "team", 0, {})
    choice = Choice.model_validate({"name": "leak", "node": 1, "bits": 8})
    listener = int((policy.topology.graph(None, 1).source[0] == 1).any(-1).nonzero()[0])
    clean = play(world, policy, comms(team_shape_of(world, policy)), 5)
    return measure_covert_leak(saved, choice, listener, 64, 5, PLAIN_TRANSPORT), clean


def test_an_accomplice_reads_the_secret_and_the_team_plays_on() -> None:
    found, clean = told()
    assert found.accuracy == 1
    assert found.spoken == 1
    assert found.bits == pytest.approx(8)
    assert abs(float(found.episodes.total_reward.mean() - clean.total_reward.mean())) < 0.02


@pytest.mark.parametrize(("noise", "readable"), [(0.004, True), (0.055, False)])
def test_noise_wipes_the_secret_off_when_it_is_as_large_as_the_digits(noise: float, readable: bool) -> None:
    s = team_shape(worlds=64)
    exchanges = conversation(s, 4, closed=0)
    made = attack("leak", s, node=1, bits=8)
    network = comms(s, [made, attack("noise", s, epsilon=noise)])
    right = []
    for e in exchanges:
        inbox = network.exchange(e.spoken, e.links, e.step, e.round)
        from_node = inbox.mask & (e.links.source == 1)
        secret = network.guards[0].memory.tensors["secret"][from_node.nonzero()[:, 0]]
        right.append((made.decode(inbox.payload()[from_node]) == secret).flatten())  # type: ignore[attr-defined]
    share = float(torch.cat(right).float().mean())
    assert share == 1 if readable else share < 0.9


def test_leaks_keep_to_their_bound_and_their_room() -> None:
    s = team_shape()
    exchanges = conversation(s, 4)
    network = comms(s, [attack("leak", s, node=1, bits=4, epsilon=0.05)])
    for e, inbox in zip(exchanges, carry(network, exchanges), strict=True):
        change = heard(inbox) - heard(comms(s).exchange(e.spoken, e.links, e.step, e.round))
        assert change.abs().max() <= 0.05 + 1e-5
        assert not change[..., 4:].any()
        assert not change[e.links.source != 1].any()
    assert not network.guards[0].violations
    with pytest.raises(ValueError, match="bits=9 do not fit"):
        attack("leak", s, bits=9)
