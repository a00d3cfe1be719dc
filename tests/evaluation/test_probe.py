"""A probe finds what is there, finds nothing where there is nothing, and is judged on episodes it has not seen."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import pytest
import torch
from small import small
from torch import Tensor

from agentcomm.base.errors import RunError
from agentcomm.evaluation.leakage import WINDOW, intercept, measure_leakage
from agentcomm.evaluation.probe import probe
from agentcomm.runs import policy_file
from agentcomm.runs.assembly import make_policy, make_world
from agentcomm.runs.choices import Choice
from agentcomm.runs.folder import Run, create


def samples(episodes: int = 400, steps: int = 6, classes: int = 3, seed: int = 0) -> tuple[Tensor, Tensor, Tensor]:
    """Noise to look at, facts, and episodes."""
    g = torch.Generator().manual_seed(seed)
    episode = torch.arange(episodes).repeat_interleave(steps)
    fact = torch.randint(classes, (len(episode),), generator=g)
    return torch.randn(len(episode), 8, generator=g), fact, episode


def test_what_is_said_is_found() -> None:
    noise, fact, episode = samples()
    noise[:, :3] += 5 * torch.nn.functional.one_hot(fact, 3)
    found = probe(noise, fact, episode)
    assert found.accuracy > 0.99
    assert found.prior < 0.4
    assert found.gain is not None
    assert found.gain[0] > 0.5
    assert found.bits == pytest.approx(found.entropy, abs=0.1)
    assert found.samples == 600


def test_nothing_is_found_in_noise() -> None:
    for seed in range(3):
        found = probe(*samples(seed=seed))
        assert found.gain is not None
        assert found.gain[0] < 0.03
        assert found.bits < 0.01


def test_noise_that_says_something_is_worth_what_it_says() -> None:
    """A fact told right in 90% of all cases: 1 - H(0.1) = 0.531 bits."""
    noise, fact, episode = samples(2000, classes=2)
    wrong = torch.rand(len(fact), generator=torch.Generator().manual_seed(1)) < 0.1
    noise[:, 0] = (fact ^ wrong.long()).float()
    found = probe(noise, fact, episode)
    assert found.bits == pytest.approx(0.531, abs=0.04)
    assert found.accuracy == pytest.approx(0.9, abs=0.02)


def test_what_is_told_only_by_two_together_takes_a_hidden_layer() -> None:
    noise, fact, episode = samples(1000, classes=2)
    other = torch.randint(2, fact.shape, generator=torch.Generator().manual_seed(2))
    noise[:, 0], noise[:, 1] = other.float(), (other ^ fact).float()
    assert probe(noise, fact, episode).accuracy > 0.97
    assert probe(noise, fact, episode, hidden=0).accuracy < 0.6


def test_episodes_are_not_split() -> None:
    """What only tells episodes apart helps nobody who meets new ones."""
    _, _, episode = samples(100)
    g = torch.Generator().manual_seed(0)
    fact = torch.randint(2, (100,), generator=g)[episode]
    found = probe(torch.randn(100, 60, generator=g)[episode], fact, episode)
    assert found.accuracy < 0.75
    assert found.bits < 0.1


def test_the_same_again() -> None:
    assert probe(*samples()) == probe(*samples())


def test_who_is_not_asked_is_left_out() -> None:
    noise, fact, episode = samples()
    noise[:, 0] = fact
    fact[::2] = -1
    assert probe(noise, fact, episode).samples == 300


def test_too_few_episodes_are_named() -> None:
    with pytest.raises(ValueError, match="too few episodes"):
        probe(*samples(episodes=3))
    assert probe(*samples(episodes=12)).gain is None


# ---- what is overheard


def run_with(folder: Path, *changes: str, **policy: Any) -> Run:
    """A run whose team is there, though not trained."""
    config = small(*changes)
    choice = Choice.model_validate(config.policy.model_dump() | policy)
    config = config.model_copy(update={"policy": choice})
    run = create(config, folder)
    made = make_policy(choice, make_world(config.environment, 1))
    policy_file.save(run.policy("team", 0), made, config.environment, choice, "team", 0, {})
    return run


GATED = {"gate": {"initial_logit": 0.0}, "topology": {"name": "full"}}


def test_what_is_overheard_is_what_was_sent(tmp_path: Path) -> None:
    run = run_with(tmp_path, **GATED)
    heard = intercept(run, 0, 40, sampled=True)
    rounds, width = 2, 16
    assert heard.payloads.shape == (len(heard.episode), rounds * (width + 1))
    assert heard.sizes.shape == (len(heard.episode), 2 * WINDOW)
    spoke = heard.payloads[:, width] > 0
    assert torch.equal(spoke, heard.sizes[:, 1] > 0), "what comes from an agent has a payload"
    assert not heard.payloads[~spoke].any()
    length = heard.payloads[spoke][:, :width].norm(dim=1)
    assert torch.allclose(length, torch.tensor(width**0.5), atol=0.01), "tokens as they were said"
    assert 0.2 < float((heard.sizes[:, 0] > 0).float().mean()) < 0.8, "gates open and shut"
    assert not heard.sizes[heard.step == 0][:, 2:].any(), "there is nothing before the first step"
    # What a window shows of the step before is what came then.
    order = {
        (int(e), int(a), int(t)): i
        for i, (e, a, t) in enumerate(zip(heard.episode, heard.agent, heard.step, strict=True))
    }
    for (e, a, t), i in list(order.items())[::17]:
        if t:
            assert torch.equal(heard.sizes[i, 2:], heard.sizes[order[e, a, t - 1], :-2])


def test_listening_changes_nothing_and_is_the_same_again(tmp_path: Path) -> None:
    run = run_with(tmp_path, **GATED)
    first, second = intercept(run, 0, 20), intercept(run, 0, 20)
    assert torch.equal(first.payloads, second.payloads)
    quiet = intercept(run, 0, 20, attack=Choice.model_validate({"name": "eavesdrop", "links": [[0, 1]]}))
    assert torch.equal(quiet.step, first.step)
    assert torch.equal(quiet.facts["row"], first.facts["row"])
    assert torch.equal(quiet.sizes, first.sizes), "sizes are seen of all links"
    spoke = quiet.payloads.any(1)
    assert spoke.any()
    assert (quiet.agent[spoke] == 0).all(), "read is only what is tapped"


def test_teams_that_act_in_turns_are_overheard(tmp_path: Path) -> None:
    heard = intercept(run_with(tmp_path, decoder="autoregressive", **GATED), 0, 12)
    assert heard.payloads.any()


def test_facts_are_told_from_payloads_but_not_from_the_clock(tmp_path: Path) -> None:
    run = run_with(tmp_path, topology={"name": "full"}, gate=None)
    found = measure_leakage(intercept(run, 0, 300))
    assert set(found) == {"role", "row", "column", "sees the prey", "is at the prey"}
    assert found["row"]["payloads"].bits > found["row"]["clock"].bits + 0.3
    assert abs(found["row"]["sizes"].bits - found["row"]["clock"].bits) < 0.1, "gates are always open"
    assert set(measure_leakage(intercept(run, 0, 40), agents=[0])) == {
        "row",
        "column",
        "sees the prey",
        "is at the prey",
    }


def test_a_team_that_is_not_there_is_named(tmp_path: Path) -> None:
    with pytest.raises(RunError, match="no trained team of seed 7"):
        intercept(run_with(tmp_path), 7, 4)


def test_what_agents_know_of_a_grid() -> None:
    world = make_world(Choice.model_validate({"name": "predator_capture_prey", "size": 4}), 1)
    world.reset(0, {"positions": [[0, 0], [3, 2], [1, 1]], "prey": [[1, 1]]})
    facts = {name: fact[0].tolist() for name, fact in world.facts().items()}
    assert facts == {
        "role": [0, 0, 1],
        "row": [0, 3, 1],
        "column": [0, 2, 1],
        "sees the prey": [1, 0, -1],
        "is at the prey": [0, 0, 1],
    }


def test_what_only_turns_up_in_test_costs_few_bits() -> None:
    """Late steps are rare; a probe must not be sure of what it never saw."""
    g = torch.Generator().manual_seed(0)
    episode = torch.arange(400).repeat_interleave(5)
    fact = torch.randint(2, (2000,), generator=g)
    unseen = (episode % 4 == 3).float().unsqueeze(1)
    rare = torch.zeros(2000, 1)
    rare[0] = 1
    rare[episode == 3] = 1
    found = probe(torch.cat([unseen, rare, torch.randn(2000, 2, generator=g)], 1), fact, episode)
    assert -0.2 < found.bits < 0.1
