"""Training under every defense: what it did in rollouts is replayed, so the ratio is 1 on the first minibatch."""

from __future__ import annotations

from collections.abc import Iterator
from itertools import product
from typing import Any

import pytest
import torch
from small import small_data

from agentcomm.base import registry
from agentcomm.base.errors import ConfigError, RequirementError
from agentcomm.contracts.defense import defense_hooks
from agentcomm.runs.assembly import check_training
from agentcomm.runs.config import RunConfig, parse
from benchmarks.plain_loop import PlainLoop

TEAM = {"name": "agreement", "members": 7, "max_steps": 5, "observation": "indices"}
MARKET = {"name": "task_market", "max_steps": 5}
FULL = {"name": "commformer", "width": 8, "blocks": 0, "topology": {"name": "full"}}
# Some defenses need inboxes of several messages, others a graph that leaves somebody out.
GRAPHS = ({}, {"topology": {"name": "ring"}})
TRANSPORTS: tuple[dict[str, Any], ...] = ({}, {"channels": [{"name": "fragments", "mtu": 100}]}, {"codec": "vq"})
BEFORE = ((), ("authenticate",))
# Lies on the wire and from a member; those on the wire are refused by authenticate.
ATTACKS = [{"name": "tamper", "probability": 0.3}, {"name": "noise", "position": "node", "node": 1}]
# Those that replace links are refused in training (test_defenses_that_replace_links_are_refused).
FORMS = [
    form
    for form, (name, arguments) in registry.forms("defense").items()
    if registry.find("defense", name).in_training and not arguments.get("reselect")
]


def configs(form: str) -> Iterator[RunConfig]:
    """A small team under a defense, with what it may need besides."""
    name, arguments = registry.forms("defense")[form]
    directory = "on_directory" in defense_hooks(registry.find("defense", name))
    for graph, transport, before in product(GRAPHS, TRANSPORTS, BEFORE):
        data = small_data(
            "training.worlds=6", "training.fragment=7", "training.ppo.epochs=2", "training.ppo.held_out=0"
        )
        data |= {"environment": MARKET if directory else TEAM, "policy": FULL | graph, "transport": transport}
        others = [{"name": other} for other in before if other != name]
        yield parse(data | {"attacks": ATTACKS, "defenses": [*others, {"name": name, **arguments}]}, form)


@pytest.mark.parametrize("form", FORMS)
def test_the_first_ratio_is_one_under_every_defense(form: str) -> None:
    reasons = []
    for config in configs(form):
        try:
            check_training(config)
        except (RequirementError, ConfigError) as error:
            reasons.append(str(error))
            continue
        loop = PlainLoop(config)
        columns = loop.sampler.collect(7).columns
        assert all(column.isfinite().all() for column in columns.values() if column.is_floating_point())
        found = loop.update.run(columns)
        assert found["first_ratio_error"] < 1e-5
        assert found["ratio_error"] > 1e-6, "the policy did not move, so the ratio says nothing"
        return
    pytest.fail(f"{form} fits none of the small teams: {reasons[0]}")


def test_defenses_that_replace_links_are_refused() -> None:
    refusals = []
    for config in configs("quarantine strict"):
        with pytest.raises((RequirementError, ConfigError)) as refusal:
            check_training(config)
        refusals.append(str(refusal.value))
    assert any("cannot be used in training" in words and "reselect=true" in words for words in refusals)


def test_message_dropout_refuses_its_share_in_training_and_not_in_evaluation() -> None:
    data = small_data("training.worlds=64", "training.fragment=10") | {"environment": TEAM, "policy": FULL}
    loop = PlainLoop(parse(data | {"defenses": [{"name": "message_dropout", "probability": 0.25}]}, "dropout"))
    fragment = loop.sampler.collect(10)
    assert fragment.messages["refused"] / fragment.messages["sent"] == pytest.approx(0.25, abs=0.02)
    again = PlainLoop(loop.run).sampler.collect(10)
    assert torch.equal(fragment.columns["mask"], again.columns["mask"]), "drawn from a seeded generator"
    clean = PlainLoop(parse(data, "clean"))
    clean.policy.load_state_dict(loop.policy.state_dict())
    assert loop.evaluate(32) == clean.evaluate(32)
