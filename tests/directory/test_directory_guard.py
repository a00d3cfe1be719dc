"""The guard of a directory shows and does what position, powers and budget allow, and counts the rest."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import pytest
import torch
from builders import install
from directory.test_hub import CPU, ask, hub
from torch import Tensor

from agentcomm.base.errors import HookError
from agentcomm.contracts.directory_attack import DirectoryAttack
from agentcomm.contracts.directory_hook import DirectoryEdits, DirectoryView, Ratings, Registrations
from agentcomm.contracts.outcome import Facts
from agentcomm.contracts.shape import TeamShape
from agentcomm.contracts.threat_model import Budget, Position, Power, ThreatModel
from agentcomm.directory.hub import Directory


class Scripted(DirectoryAttack):
    """Made up on the spot."""

    name = "scripted"

    def __init__(
        self,
        kind: Any,
        powers: set[Power],
        edits: Callable[[DirectoryView], DirectoryEdits],
        budget: Budget | None = None,
    ) -> None:
        super().__init__(self.Config(), TeamShape(1, 3, 1, 4, 1, CPU))  # type: ignore[arg-type]
        position = Position(kind=kind, node=0 if kind == "node" else None)
        self._threat = ThreatModel(position, frozenset(powers), "none", budget or Budget())
        seen: list[DirectoryView] = []  # not among its attributes, where it would be state outside memory

        def log(view: DirectoryView) -> DirectoryEdits:
            seen.append(view)
            return edits(view)

        self._edits, self._shown = log, lambda: seen

    @property
    def seen(self) -> list[DirectoryView]:
        return self._shown()

    def threat_model(self) -> ThreatModel:
        return self._threat

    def on_directory(self, view: DirectoryView) -> DirectoryEdits:
        return self._edits(view)

    def registrations(self) -> int:
        return 2

    def requests(self) -> int:
        return 4

    def ratings(self) -> int:
        return 2

    def share(self, facts: Facts) -> Tensor:
        return facts.misrouted.float()


def register(view: DirectoryView, **changes: Any) -> DirectoryEdits:
    card: dict[str, Tensor] = {
        "where": torch.ones(1, 2, dtype=torch.bool),
        "principal": torch.tensor([[3, 4]]),
        "claim": torch.full((1, 2, 2), 0.9),
        "key": torch.tensor([[3, 4]]),
        "quality": torch.zeros(1, 2),
        "stalls": torch.zeros(1, 2, dtype=torch.bool),
    }
    return DirectoryEdits(register=Registrations(**(card | changes)))


def poison(view: DirectoryView) -> DirectoryEdits:
    # The honest cards say 0.5 everywhere.
    change = torch.full((1, 2, 5, 2), -0.4)
    change[:, :, 1] = 0.4
    return DirectoryEdits(modify=torch.ones(1, 2, dtype=torch.bool), claim=change)


def flood(view: DirectoryView) -> DirectoryEdits:
    return DirectoryEdits(requests=torch.tensor([4]))


def rate(view: DirectoryView) -> DirectoryEdits:
    yes = torch.ones(1, 2, dtype=torch.bool)
    return DirectoryEdits(ratings=Ratings(yes, torch.tensor([[1, 2]]), torch.tensor([[True, False]])))


def attacked(attack: DirectoryAttack, defenses: dict[str, dict[str, Any]] | None = None, **arguments: Any) -> Directory:
    made = hub(**arguments)
    made.adversary = install(made, [attack], defenses=defenses)  # type: ignore[attr-defined]
    return made


def test_a_newcomer_registers_under_its_own_origin() -> None:
    made = attacked(Scripted("newcomer", {"register"}, register))
    answer = ask(made)
    assert made.cards.present.sum() == 5
    assert made.cards.origin[0].tolist() == [0, 1, 2, 3, 3], "3 is what outsiders come from"
    assert set(answer.principal[0, 0, :2].tolist()) == {3, 4}
    assert made.facts().registered.tolist() == [2]
    assert made.route(answer.slot[..., 0]).eq(3).all()
    assert made.facts().misrouted.tolist() == [2]


@pytest.mark.parametrize(
    ("kind", "powers", "edits", "rule"),
    [
        ("newcomer", {"read", "inject"}, register, "register without the power to"),
        ("hub", {"read", "register"}, register, "register from position hub"),
        ("observer", {"register"}, register, "register from position observer"),
        ("newcomer", {"register"}, flood, "inject without the power to"),
        ("hub", {"inject"}, flood, "inject from position hub"),
        ("newcomer", {"read", "register"}, rate, "inject without the power to"),
        ("hub", {"inject"}, rate, "inject from position hub"),
        ("newcomer", {"read", "modify"}, poison, "modify from position newcomer"),
        ("hub", {"read"}, poison, "modify without the power to"),
    ],
)
def test_what_is_not_allowed_is_not_done(kind: Any, powers: set[Power], edits: Any, rule: str) -> None:
    made = attacked(Scripted(kind, powers, edits))
    clean = hub()
    for _ in range(3):
        assert torch.equal(ask(made).slot, ask(clean).slot)
    assert set(made.guards[0].base.violations) == {rule}
    assert made.guards[0].base.spent.tolist() == [0]
    assert made.cards.present.sum() == 3


@pytest.mark.parametrize(
    "changes",
    [
        {"claim": torch.full((1, 2, 2), 1.5)},
        {"claim": torch.full((1, 2, 2), float("nan"))},
        {"quality": torch.full((1, 2), 2.0)},
        {"principal": torch.tensor([[7, -1]])},
        {"copies": torch.tensor([[4, -1]])},
        {"scapegoat": torch.tensor([[7, -2]])},
    ],
)
def test_what_is_no_card_is_not_registered(changes: dict[str, Tensor]) -> None:
    made = attacked(Scripted("newcomer", {"register"}, lambda view: register(view, **changes)))
    ask(made)
    assert made.guards[0].base.violations == {"register an invalid card": 2}
    assert made.cards.present.sum() == 3


def test_wrong_shapes_and_positions_are_refused() -> None:
    made = attacked(Scripted("newcomer", {"register"}, lambda view: register(view, key=torch.zeros(1, 3))))
    with pytest.raises(HookError, match=r"scripted': edits.register.key must be torch.int64 \(1, 2\)"):
        ask(made)
    with pytest.raises(ValueError, match="no directory can be reached from position 'node'"):
        attacked(Scripted("node", {"register"}, register))


def test_the_view_shows_what_may_be_read() -> None:
    nothing = Scripted("newcomer", {"register"}, lambda view: DirectoryEdits())
    public = Scripted("newcomer", {"read"}, lambda view: DirectoryEdits())
    everything = Scripted("hub", {"read"}, lambda view: DirectoryEdits())
    made = hub()
    install(made, [nothing, public, everything])
    ask(made)
    shown = [
        {n for n in ("claim", "principal", "key", "reputation", "requirement", "wanted") if a.seen[0].shows(n)}
        for a in (nothing, public, everything)
    ]
    assert shown[0] == set()
    assert shown[1] == {"claim", "principal", "key", "reputation"}
    assert shown[2] == shown[1] | {"requirement", "wanted"}
    view = everything.seen[0]
    for copied in (view.claim, view.reputation, view.requirement):
        copied.fill_(7)
    assert made.cards.claim.max() < 7
    assert made.reputation().max() < 7


def test_the_budget_is_kept() -> None:
    made = attacked(
        Scripted("newcomer", {"inject"}, flood, Budget(per_step=3, per_episode=5, start_step=1)), capacity=1
    )
    for step, total in ((0, 0), (1, 3), (2, 5), (3, 5)):
        ask(made, step=torch.tensor([step]))
        assert made.guards[0].base.spent.tolist() == [total]
    assert made.guards[0].base.violations == {"beyond the budget": 4 + 1 + 2 + 4}
    made.begin(torch.tensor([0]), torch.zeros(1, 3, 2))
    assert made.guards[0].base.spent.tolist() == [0]


def test_changed_answers_keep_the_norm() -> None:
    made = attacked(Scripted("hub", {"read", "modify"}, poison, Budget(norm=0.1)))
    answer = ask(made)
    assert answer.principal[0, :, 0].tolist() == [1, 1]
    assert answer.claim[0, 0, :, 0].tolist() == pytest.approx([0.6, 0.4, 0.4])
    assert made.cards.claim[0, :3].eq(0.5).all(), "what is stored stays"
    assert set(made.guards[0].base.violations) == {"modify beyond the norm"}


def test_a_challenge_refuses_names_whose_key_is_not_held() -> None:
    copies = {"principal": torch.tensor([[0, 1]]), "key": torch.tensor([[0, 3]])}
    made = attacked(Scripted("newcomer", {"register"}, lambda view: register(view, **copies)), {"challenge": {}})
    ask(made)
    assert made.cards.present.sum() == 3
    assert made.facts().refused.tolist() == [2]
    made = attacked(Scripted("newcomer", {"register"}, register), {"challenge": {}})
    ask(made)
    assert made.cards.present.sum() == 5, "its own names it may use"


def test_memory_is_changed_in_place() -> None:
    def swap(view: DirectoryView) -> DirectoryEdits:
        view.memory["more"] = torch.zeros(1)
        return DirectoryEdits()

    made = attacked(Scripted("newcomer", {"read"}, swap))
    with pytest.raises(HookError, match="in place"):
        ask(made)


def test_ratings_are_booked_as_outcomes_are() -> None:
    made = attacked(Scripted("newcomer", {"inject"}, rate, Budget(per_step=1)))
    ask(made)
    assert made.reputation()[0, :3].tolist() == pytest.approx([1 / 2, 2 / 3, 1 / 2])
    assert made.guards[0].base.violations == {"beyond the budget": 1}
    facts = made.facts()
    assert (facts.booked.item(), facts.slandered.item()) == (1, 1)
    made = attacked(Scripted("newcomer", {"inject"}, rate), {"member_ratings": {}})
    ask(made)
    assert made.reputation().eq(0.5).all()


def test_who_registers_is_told_whether_it_stands() -> None:
    attack = Scripted("newcomer", {"register"}, register)
    made = attacked(attack, slots=4)
    ask(made)
    ask(made)
    assert [view.taken.tolist() for view in attack.seen if view.shows("taken")] == [[[False] * 2], [[True, False]]]
    saved = made.adversary.snapshot()
    other = attacked(Scripted("newcomer", {"register"}, register), slots=4)
    other.adversary.restore(saved)
    assert other.guards[0].taken.tolist() == [[True, False]]
    made.begin(torch.tensor([0]), torch.zeros(1, 3, 2))
    assert not made.guards[0].taken.any()


def test_who_makes_look_ups_sees_their_answers_one_step_later() -> None:
    class Looks(Scripted):
        def sends_lookups(self) -> bool:
            return True

    def one(view: DirectoryView) -> DirectoryEdits:
        return DirectoryEdits(requests=torch.tensor([1]))

    attack = Looks("newcomer", {"inject"}, one)
    made = attacked(attack)
    made.begin(torch.tensor([0]), torch.tensor([[[0.1, 0.0], [0.9, 0.5], [0.5, 0.9]]]))
    ask(made)
    ask(made)
    first, second = attack.seen
    assert (first.answers == -1).all()
    assert second.answers[0].tolist() == [[1, 2, 0], [-1, -1, -1]], "one request, of the first skill"
    assert not second.shows("claim")
    deaf = Scripted("newcomer", {"inject"}, one)
    made = attacked(deaf)
    ask(made)
    ask(made)
    assert not deaf.seen[1].shows("answers")


def test_half_open_requests_occupy_the_hub_until_its_timeout() -> None:
    def two(view: DirectoryView) -> DirectoryEdits:
        count = 2 if int(view.step) == 0 else 0
        return DirectoryEdits(requests=torch.tensor([count]), half_open=True)

    made = attacked(Scripted("newcomer", {"inject"}, two), {"request_timeout": {"steps": 3}}, capacity=4)
    served = [int(ask(made, lookups=4, step=torch.tensor([at])).served.sum()) for at in range(4)]
    assert served[0] >= 2
    taken = 4 - served[0]
    assert served[1:] == [4 - taken, 4 - taken, 4]


def test_a_restored_guard_goes_on_counting_what_is_done_behind_its_back() -> None:
    class Sly(Scripted):
        calls = 0

        def on_directory(self, view: DirectoryView) -> DirectoryEdits:
            self.calls += 1
            return DirectoryEdits()

    made = attacked(Sly("newcomer", {"register"}, register))
    ask(made)
    other = attacked(Sly("newcomer", {"register"}, register))
    other.adversary.restore(made.adversary.snapshot())
    ask(other)
    assert other.guards[0].base.violations == {"keeps state outside its memory": 2}
