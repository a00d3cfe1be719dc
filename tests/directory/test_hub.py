"""Cards have bounded places, the hub a bounded capacity, and reputation comes from outcomes alone."""

from __future__ import annotations

from dataclasses import replace
from typing import Any

import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from torch import Tensor

from agentcomm.contracts.cards import Cards
from agentcomm.contracts.directory_defense import Answer
from agentcomm.directory.config import DirectoryConfig
from agentcomm.directory.hub import Directory
from agentcomm.directory.ranking import best, score

CPU = torch.device("cpu")


def hub(worlds: int = 1, members: int = 3, skills: int = 2, **arguments: Any) -> Directory:
    made = Directory(
        DirectoryConfig(**{"slots": 5, "newcomers": 4, "capacity": 9} | arguments), worlds, members, skills, CPU
    )
    made.begin(torch.arange(worlds), torch.full((worlds, members, skills), 0.5))
    return made


def ask(made: Directory, lookups: int = 2, seed: int = 0, **changes: Tensor) -> Answer:
    """One turn in which everybody looks up the first skill."""
    worlds = made.num_worlds
    requirement = torch.zeros(worlds, lookups, made.skills)
    requirement[..., 0] = 1
    given_: dict[str, Any] = {
        "requirement": requirement,
        "wanted": torch.ones(worlds, lookups, dtype=torch.bool),
        "excluded": torch.zeros(worlds, lookups, made.principals, dtype=torch.bool),
        "own": torch.ones(worlds, lookups, dtype=torch.bool),
        "renew": torch.zeros(worlds, made.members, dtype=torch.bool),
        "claim": torch.ones(worlds, made.members, made.skills),
        "step": torch.zeros(worlds, dtype=torch.int64),
        "generator": torch.Generator().manual_seed(seed),
    }
    return made.turn(**(given_ | changes))


def cards(principals: list[int], slots: int | None = None, origin: int = 9) -> Cards:
    """Cards of one world, claiming a tenth of their number."""
    made = Cards.empty(1, len(principals), 1, CPU)
    name = torch.tensor([principals])
    return replace(
        made,
        present=torch.ones_like(made.present),
        principal=name,
        origin=torch.full_like(name, origin),
        key=name,
        claim=name.unsqueeze(2) / 10,
    )


@given(
    st.integers(1, 6),
    st.lists(st.lists(st.tuples(st.integers(0, 5), st.booleans()), min_size=3, max_size=3), max_size=6),
)
@settings(max_examples=60, deadline=None)
def test_places_are_never_more_than_there_are(slots: int, batches: list[list[tuple[int, bool]]]) -> None:
    shelf = Cards.empty(1, slots, 1, CPU)
    for batch in batches:
        before = shelf
        names, wanted = zip(*batch, strict=True)
        where = torch.tensor([wanted])
        shelf, fits = shelf.put(where, cards(list(names)), 9)
        assert shelf.present.shape == (1, slots)
        assert not (fits & ~where).any()
        assert (before.present <= shelf.present).all(), "nobody is pushed out"
        known = set(before.principal[before.present].tolist())
        new = sum(1 for name, yes in batch if yes and name not in known)
        assert int(shelf.present.sum()) == min(slots, int(before.present.sum()) + new)
        assert (shelf.principal[shelf.present] >= 0).all()
        assert (shelf.principal[~shelf.present] == -1).all()


def test_a_card_is_renewed_in_its_place() -> None:
    shelf, _ = Cards.empty(1, 3, 1, CPU).put(torch.ones(1, 2, dtype=torch.bool), cards([4, 2]), 9)
    again = replace(cards([2]), claim=torch.full((1, 1, 1), 0.9))
    shelf, fits = shelf.put(torch.ones(1, 1, dtype=torch.bool), again, 9)
    assert fits.all()
    assert shelf.principal.tolist() == [[4, 2, -1]]
    assert shelf.claim[0, :, 0].tolist() == pytest.approx([0.4, 0.9, 0.0])


@given(st.integers(0, 2**31), st.integers(1, 6), st.integers(1, 4))
@settings(max_examples=60, deadline=None)
def test_best_names_the_highest_eligible(seed: int, slots: int, count: int) -> None:
    g = torch.Generator().manual_seed(seed)
    scores = torch.randint(3, (4, slots), generator=g).float()
    eligible = torch.rand(4, slots, generator=g) < 0.6
    named = best(scores, eligible, count, torch.rand(4, slots, generator=g))
    for row in range(4):
        some = [i for i in named[row].tolist() if i >= 0]
        assert len(set(some)) == len(some) == min(count, int(eligible[row].sum()))
        assert all(eligible[row, i] for i in some)
        ordered = sorted(scores[row][eligible[row]].tolist(), reverse=True)
        assert [scores[row, i].item() for i in some] == ordered[: len(some)]


def test_ties_are_broken_evenly() -> None:
    named = best(torch.zeros(6_000, 3), torch.ones(6_000, 3, dtype=torch.bool), 1, torch.rand(6_000, 3))
    counts = torch.bincount(named.flatten(), minlength=3)
    assert ((counts - 2_000) ** 2 / 2_000).sum() < 13.8, "0.1% point of chi-square with 2 degrees of freedom"


def test_score_weighs_reputation() -> None:
    claim, requirement = torch.tensor([[0.2, 0.9], [1.0, 0.1]]), torch.tensor([0.0, 1.0])
    standing = torch.tensor([0.0, 1.0])
    assert score((claim * requirement.unsqueeze(-2)).sum(-1), standing, 0.0).tolist() == pytest.approx([0.9, 0.1])
    assert score((claim * requirement.unsqueeze(-2)).sum(-1), standing, 2.0).tolist() == pytest.approx([0.9, 2.1])


def test_the_hub_serves_no_more_than_its_capacity() -> None:
    made = hub(worlds=2_000, capacity=2)
    answer = ask(made, lookups=3)
    assert (answer.served.sum(1) == 2).all()
    assert ((answer.slot >= 0).any(2) == answer.served).all(), "who is not served is told of nobody"
    share = answer.served.float().mean(0)
    assert share.tolist() == pytest.approx([2 / 3] * 3, abs=0.04), "nobody is preferred"
    facts = made.facts()
    assert (facts.asked == 3).all()
    assert (facts.unserved == 1).all()


def test_renewals_take_capacity_and_show_in_the_answer() -> None:
    made = hub(capacity=3)
    answer = ask(made, renew=torch.ones(1, 3, dtype=torch.bool), wanted=torch.zeros(1, 2, dtype=torch.bool))
    assert not answer.served.any()
    assert made.cards.claim[0, :3].tolist() == [[1, 1]] * 3
    made = hub(capacity=1)
    ask(made, renew=torch.ones(1, 3, dtype=torch.bool), wanted=torch.zeros(1, 2, dtype=torch.bool))
    assert int((made.cards.claim == 1).all(2).sum()) == 1


def test_reputation_comes_from_outcomes_and_is_kept_by_name() -> None:
    made = hub()
    assert made.reputation().eq(0.5).all()
    yes, no = torch.tensor([[True, False]]), torch.tensor([[False, True]])
    holder = torch.tensor([[1, 2]])
    made.report(holder, yes, no, holder)
    made.report(torch.tensor([[-1, 2]]), yes, no, holder)
    assert made.reputation()[0, :3].tolist() == pytest.approx([1 / 2, 2 / 3, 1 / 4])
    before = made.reputation()
    ask(made, renew=torch.ones(1, 3, dtype=torch.bool))
    assert made.reputation().equal(before), "a card says nothing about it"
    made.begin(torch.tensor([0]), torch.zeros(1, 3, 2))
    assert made.reputation().eq(0.5).all()


def test_who_is_excluded_or_claims_nothing_is_not_named() -> None:
    made = hub()
    excluded = torch.zeros(1, 2, made.principals, dtype=torch.bool)
    excluded[0, 0, 1] = True
    assert sorted(ask(made, excluded=excluded).principal[0, 0].tolist()) == [-1, 0, 2]
    made.begin(torch.tensor([0]), torch.tensor([[[0.0, 1.0], [0.1, 0.0], [0.0, 0.0]]]))
    assert ask(made).principal[0, 0].tolist() == [1, -1, -1]


def test_every_member_needs_a_place() -> None:
    with pytest.raises(ValueError, match="2 slots has no place for 3 members"):
        hub(slots=2)


def test_failures_of_another_than_the_one_on_the_trace_are_counted() -> None:
    made = hub()
    yes, no = torch.tensor([[True, True]]), torch.tensor([[False, False]])
    made.report(torch.tensor([[1, 4]]), no, yes, torch.tensor([[1, 3]]))
    made.report(torch.tensor([[1, 4]]), no, yes, torch.tensor([[3, 2]]))
    facts = made.facts()
    assert (facts.blamed.item(), facts.misblamed.item(), facts.spoiled.item()) == (4, 2, 2)
    assert facts.share("misblamed").tolist() == [0.5]
