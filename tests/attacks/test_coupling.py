"""Couplings have the marginals they must have, and little entropy; what is hidden in actions is found again."""

from __future__ import annotations

from typing import Any

import numpy as np
import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from torch import Tensor

from attacks.insider.coupling import (
    Listener,
    action_distributions,
    entropy,
    greedy_coupling,
    marginal_deviation,
    uniform_belief,
    updated_belief,
)


def dirichlet(rng: np.random.Generator, concentration: float, *shape: int) -> Tensor:
    return torch.as_tensor(rng.dirichlet(np.full(shape[-1], concentration), shape[:-1]))


@st.composite
def pairs(draw: Any) -> tuple[Tensor, Tensor]:
    """Laws of some worlds: even and peaked ones, with zeros."""
    rng = np.random.default_rng(draw(st.integers(0, 2**32)))
    worlds, rows, columns = draw(st.integers(1, 5)), draw(st.integers(1, 20)), draw(st.integers(1, 8))
    first = dirichlet(rng, draw(st.sampled_from([0.05, 1.0, 50.0])), worlds, rows)
    second = dirichlet(rng, draw(st.sampled_from([0.05, 1.0, 50.0])), worlds, columns)
    first[0] = torch.nn.functional.one_hot(first[0].argmax(), rows).double()
    return first, second


def meet(first: Tensor, second: Tensor) -> Tensor:
    """The most even law that majorizes both: a coupling is at least as uncertain (Cicalese et al. 2019)."""
    length = max(first.shape[1], second.shape[1])
    both = [
        torch.nn.functional.pad(x, (0, length - x.shape[1])).sort(1, descending=True).values for x in (first, second)
    ]
    return torch.minimum(both[0].cumsum(1), both[1].cumsum(1)).diff(dim=1, prepend=first.new_zeros(len(first), 1))


@given(pairs())
@settings(max_examples=60, deadline=None)
def test_couplings_keep_their_marginals(pair: tuple[Tensor, Tensor]) -> None:
    first, second = pair
    joint = greedy_coupling(first, second)
    assert (joint >= 0).all()
    torch.testing.assert_close(joint.sum(2), first, rtol=0, atol=1e-14)
    torch.testing.assert_close(joint.sum(1), second, rtol=0, atol=1e-14)
    assert ((joint > 0).sum((1, 2)) < first.shape[1] + second.shape[1]).all()


@given(pairs())
@settings(max_examples=60, deadline=None)
def test_couplings_have_little_entropy(pair: tuple[Tensor, Tensor]) -> None:
    """No more than independent, no less than any coupling can have, and at most a bit more than that (Rossi 2019)."""
    first, second = pair
    bits = entropy(greedy_coupling(first, second), 2)
    least = entropy(meet(first, second).clamp_min(0))
    assert (bits <= entropy(first) + entropy(second) + 1e-9).all()
    assert (bits >= least - 1e-9).all()
    assert (bits <= least + 1 + 1e-9).all()


@given(pairs())
@settings(max_examples=30, deadline=None)
def test_a_batch_is_its_worlds_one_by_one(pair: tuple[Tensor, Tensor]) -> None:
    whole = greedy_coupling(*pair)
    for w in range(len(whole)):
        assert torch.equal(whole[w], greedy_coupling(pair[0][w : w + 1], pair[1][w : w + 1])[0])


def test_a_coupling_done_by_hand() -> None:
    joint = greedy_coupling(torch.tensor([[0.5, 0.3, 0.2]]).double(), torch.tensor([[0.6, 0.4]]).double())
    assert torch.allclose(joint[0], torch.tensor([[0.5, 0.0], [0.0, 0.3], [0.1, 0.1]]).double())


def test_entropies() -> None:
    assert entropy(torch.tensor([[0.5, 0.25, 0.25, 0.0], [1.0, 0.0, 0.0, 0.0]])).tolist() == [1.5, 0.0]
    assert entropy(torch.full((1, 4, 4), 1 / 16), 2).item() == 4


@given(pairs(), st.floats(0, 0.9))
@settings(max_examples=60, deadline=None)
def test_actions_stay_the_policys_and_beliefs_follow_bayes(pair: tuple[Tensor, Tensor], resample: float) -> None:
    belief, policy = pair
    law = action_distributions(belief, policy)
    torch.testing.assert_close(law.sum(-1), torch.ones_like(belief), rtol=0, atol=1e-12)
    assert (marginal_deviation(belief, law, policy) < 1e-12).all()
    mean = torch.zeros_like(belief)
    for a in range(policy.shape[1]):
        after = updated_belief(belief, law, policy, torch.full((len(policy),), a), resample)
        possible = policy[:, a] > 1e-12
        torch.testing.assert_close(after[possible].sum(1), torch.ones(int(possible.sum()), dtype=torch.float64))
        mean += torch.where(possible.unsqueeze(1), policy[:, a : a + 1] * after, 0.0)
    torch.testing.assert_close(mean, belief, rtol=0, atol=1e-9)  # what is believed is, in the mean, what was


def speak(
    secrets: int, steps: int, concentration: float, worlds: int = 500, eps: float = 0.0, assumed: float = 0.0
) -> tuple[float, float, float]:
    """Tells random secrets by actions of random policies: share decoded, bits known, largest deviation."""
    rng, g = np.random.default_rng(0), torch.Generator().manual_seed(0)
    listener = Listener(worlds, secrets, assumed)
    secret, everyone = torch.randint(secrets, (worlds,), generator=g), torch.arange(worlds)
    deviation = 0.0
    for _ in range(steps):
        policy = dirichlet(rng, concentration, worlds, 5)
        law = action_distributions(listener.belief, policy)
        deviation = max(deviation, float(marginal_deviation(listener.belief, law, policy).max()))
        action = torch.multinomial(law[everyone, secret], 1, generator=g).squeeze(1)
        anew = torch.rand(worlds, generator=g) < eps
        action = torch.where(anew, torch.multinomial(policy, 1, generator=g).squeeze(1), action)
        listener.see(policy, action)
    return float((listener.guess == secret).double().mean()), float(listener.bits.mean()), deviation


@pytest.mark.parametrize(("secrets", "steps", "least"), [(16, 8, 0.99), (64, 8, 0.95), (256, 16, 0.99)])
def test_random_policies_leave_room_for_secrets(secrets: int, steps: int, least: float) -> None:
    decoded, bits, deviation = speak(secrets, steps, 1.0)
    assert decoded >= least
    assert bits > 0.95 * np.log2(secrets)
    assert deviation < 1e-9


def test_policies_that_are_nearly_sure_leave_less() -> None:
    even, sure = speak(64, 4, 1.0), speak(64, 4, 0.1)
    assert sure[1] < 0.6 * even[1]
    assert sure[0] < 0.5


def test_who_knows_of_the_warden_still_hears() -> None:
    """With 40% drawn anew, the pair that does not know of it misunderstands; the one that does only takes longer."""
    naive, aware = speak(64, 32, 1.0, eps=0.4)[0], speak(64, 32, 1.0, eps=0.4, assumed=0.4)[0]
    assert naive < 0.6
    assert aware > 0.95
    assert speak(64, 8, 1.0, eps=0.4, assumed=0.4)[0] < 0.9


def test_who_hears_nothing_guesses() -> None:
    listener = Listener(8, 16)
    assert torch.equal(listener.belief, uniform_belief(8, 16))
    assert not listener.bits.any()
    sure = torch.nn.functional.one_hot(torch.arange(8) % 5, 5).double()
    listener.see(sure, torch.arange(8) % 5)
    assert listener.bits.abs().max() < 1e-12, "an action that had to be taken tells nothing"
