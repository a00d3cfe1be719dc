"""Certificates of votes: the table of admissible k, and no attack on C links turns what is certified."""

from __future__ import annotations

from itertools import combinations, product
from math import comb

import pytest
import torch

from agentcomm.certificates.ame import (
    attacked_subsets,
    benign,
    confidence,
    confidence_unchanged,
    largest_heard,
    median_holds,
    unchanged,
)
from agentcomm.contracts.continuous import Continuous
from agentcomm.contracts.discrete import Discrete
from agentcomm.defenses.ensemble import subsets_of

# The largest admissible k, and its number of subsets, by number of agents and of attacked messages (Sun et al., 2023).
TABLE = {
    3: [None],
    4: [(1, 3)],
    5: [(1, 4)],
    6: [(2, 10), (1, 5)],
    8: [(3, 35), (1, 7), (1, 7)],
    9: [(3, 56), (2, 28), (1, 8)],
    10: [(4, 126), (2, 36), (1, 9), (1, 9)],
    16: [(7, 6435), (4, 1365), (2, 105), (2, 105)],
    20: [(9, 92378), (5, 11628), (3, 969), (2, 171)],
}


@pytest.mark.parametrize("agents", TABLE)
def test_the_published_table(agents: int) -> None:
    for attacked, entry in enumerate(TABLE[agents], 1):
        heard = largest_heard(agents - 1, attacked)
        assert (None if heard is None else (heard, comb(agents - 1, heard))) == entry


def test_it_is_vacuous_for_three_agents() -> None:
    assert largest_heard(2, 1) is None
    assert not benign(1, 2, 1, 1)  # a single attacked link breaks unanimity, which it takes
    assert not unchanged(2, 0, 2, 1, 1)


@pytest.mark.parametrize(("links", "heard", "attacked"), [(5, 2, 1), (4, 1, 1), (5, 1, 2)])
def test_certified_votes_hold_against_every_attack(links: int, heard: int, attacked: int) -> None:
    members = subsets_of(links, heard)
    assert len(members) == comb(links, heard)
    g, kept = torch.Generator().manual_seed(0), 0
    for _ in range(40):
        clean = (torch.rand(len(members), generator=g) < 0.2).long()  # the action of each member, of two
        votes = torch.bincount(clean, minlength=3)
        first, second = votes.sort(descending=True).values[:2].tolist()
        for links_hit in combinations(range(links), attacked):
            hit = members[:, list(links_hit)].any(1)
            assert int(hit.sum()) == attacked_subsets(links, heard, attacked)
            for chosen in range(3):  # an attacker gains most if all its members choose the same action
                after = torch.bincount(torch.where(hit, chosen, clean), minlength=3)
                winner = int(after.argmax())
                if unchanged(first, second, links, heard, attacked):
                    kept += 1
                    assert winner == int(votes.argmax())
                if benign(int(after.max()), links, heard, attacked):
                    assert winner in clean[~hit]
    assert kept or (links, heard) != (5, 1)


def test_sampled_votes_are_certified_with_a_probability() -> None:
    links, heard, attacked, samples = 6, 2, 1, 5
    members = subsets_of(links, heard)
    hit = members[:, 0]
    draws = [sum(map(int, hit[list(drawn)])) for drawn in combinations(range(len(members)), samples)]
    for votes in range(1, samples + 1):
        exact = sum(number < votes for number in draws) / len(draws)
        assert confidence(votes, samples, links, heard, attacked) == pytest.approx(exact)
        exact = sum(2 * number < votes for number in draws) / len(draws)
        assert confidence_unchanged(votes, 0, samples, links, heard, attacked) == pytest.approx(exact)
    everything = comb(links, heard)
    for votes in range(everything + 1):  # with all subsets it is the certificate itself
        certain = confidence(votes, everything, links, heard, attacked) == 1.0
        assert certain == benign(votes, links, heard, attacked)


def test_votes_are_counted() -> None:
    logits = torch.randn(7, 3, 2, 4, generator=torch.Generator().manual_seed(0))
    noise = torch.randn(3, 2, 4, generator=torch.Generator().manual_seed(1))
    for drawn in (None, noise):
        wins, votes = Discrete(("a", "b", "c", "d")).vote(logits, drawn)
        assert votes is not None
        action = (logits if drawn is None else logits + drawn).argmax(-1)
        assert votes.sum(-1).eq(7).all()
        for world, agent in product(range(3), range(2)):
            assert votes[world, agent].tolist() == torch.bincount(action[:, world, agent], minlength=4).tolist()
        assert torch.equal(wins.argmax(-1), votes.argmax(-1))
        assert wins.isfinite().all()


@pytest.mark.parametrize("lie", [1e30, -1e30, float("nan"), float("inf")])
def test_the_median_of_continuous_actions_stays_between_honest_ones(lie: float) -> None:
    links, heard, attacked = 5, 1, 2
    assert median_holds(links, heard, attacked)
    honest = torch.randn(comb(links, heard), 4, 3, generator=torch.Generator().manual_seed(0))
    hit = subsets_of(links, heard)[:, :attacked].any(1)
    space = Continuous((-1.0,) * 3, (1.0,) * 3)

    def median_vote(means: torch.Tensor) -> torch.Tensor:
        parameters, _ = space.vote(torch.cat([means, torch.zeros_like(means)], -1), None)
        return space.choose(parameters, None)

    median = median_vote(torch.where(hit[:, None, None], torch.tensor(lie), honest))
    clean = honest[~hit]
    assert ((median >= clean.amin(0)) & (median <= clean.amax(0))).all()
    assert torch.equal(median_vote(honest), honest.quantile(0.5, dim=0))
