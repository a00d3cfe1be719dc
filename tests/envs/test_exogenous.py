"""Environments that say that observations do not depend on actions: other actions change nothing that is seen."""

from __future__ import annotations

import pytest
import torch

from agentcomm.base import registry

EXOGENOUS = [name for name in registry.names("environment") if registry.find("environment", name).exogenous]


def test_there_is_one() -> None:
    assert "oracle_hint" in EXOGENOUS


@pytest.mark.parametrize("name", EXOGENOUS)
def test_actions_change_no_observation(name: str) -> None:
    plugin = registry.find("environment", name)
    for arguments in plugin.forms().values():
        one, other = (plugin(registry.build_config("environment", name, arguments), 3) for _ in range(2))
        assert torch.equal(one.reset(5), other.reset(5))
        for _ in range(one.max_steps):
            actions = torch.zeros(3, one.num_agents, dtype=torch.int64)
            first, second = one.step(actions, auto_reset=False), other.step(actions + 1, auto_reset=False)
            assert torch.equal(first.observation, second.observation)
            assert torch.equal(first.done, second.done)
