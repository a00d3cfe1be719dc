"""Hooks on actions: after attacks, in order, with one chance for who settles what an action tells."""

from __future__ import annotations

import pytest
import torch
from builders import attack, comms, defense, team_shape
from torch import Tensor

from agentcomm.base.errors import HookError
from agentcomm.contracts.defense import Defense, DefenseConfig
from agentcomm.contracts.verdicts import ActionRequest, ActionVerdicts

S = team_shape(worlds=50, agents=3)
ROWS, STEP = torch.arange(150), torch.zeros(50, dtype=torch.int64)


class Shield(Defense):
    """Nobody does action 0."""

    order = "response"

    def on_action(self, request: ActionRequest, memory: dict[str, Tensor]) -> ActionVerdicts:
        return ActionVerdicts(replace=torch.where(request.action == 0, 1, -1))


def drawn(seed: int = 0) -> tuple[Tensor, Tensor, Tensor]:
    g = torch.Generator().manual_seed(seed)
    logits = torch.randn(150, 5, generator=g)
    noise = -torch.empty(150, 5).exponential_(generator=g).log_()
    return logits, (logits + noise).argmax(-1), noise


def test_a_shield_has_the_last_word() -> None:
    logits, action, noise = drawn()
    warden = defense("warden", S, probability=1.0)
    done = comms(S, [attack("covert", S, node=1)], [warden, Shield(DefenseConfig(), S)]).on_action(
        logits, action, noise, STEP, ROWS
    )
    assert (action == 0).any()
    assert not (done == 0).any()


def test_what_a_defense_has_chosen_tells_nothing() -> None:
    class Everything(Shield):
        def on_action(self, request: ActionRequest, memory: dict[str, Tensor]) -> ActionVerdicts:
            return ActionVerdicts(replace=torch.full_like(request.action, 2))

    logits, action, noise = drawn()
    made = comms(S, [attack("covert", S, node=1, messages=4)], [Everything(DefenseConfig(), S)])
    assert (made.on_action(logits, action, noise, STEP, ROWS) == 2).all()
    posterior = made.adversary.action_guards[0].posterior
    assert torch.equal(posterior, torch.full_like(posterior, 1 / 4))


def test_two_wardens_are_one_with_a_higher_chance() -> None:
    logits, action, noise = drawn()
    two = comms(S, [], [defense("warden", S, probability=0.5), defense("warden", S, probability=0.2)])
    out = two.defenders.on_action(logits, action, noise, STEP, ROWS)
    torch.testing.assert_close(out.resample, torch.full((150,), 0.6).double())
    again = two.defenders.on_action(logits, action, noise, STEP, ROWS).action
    assert not torch.equal(out.action, again)


def test_wrong_verdicts_are_refused() -> None:
    class Wrong(Shield):
        def on_action(self, request: ActionRequest, memory: dict[str, Tensor]) -> ActionVerdicts:
            return ActionVerdicts(replace=request.action.float())

    logits, action, noise = drawn()
    with pytest.raises(HookError, match=r"defense 'wrong': replace must be torch.int64 \(150,\)"):
        comms(S, [], [Wrong(DefenseConfig(), S)]).on_action(logits, action, noise, STEP, ROWS)
