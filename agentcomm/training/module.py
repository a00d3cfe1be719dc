"""The policy as RLlib's RLModule."""

from __future__ import annotations

from contextlib import closing
from typing import Any

from ray.rllib.core.rl_module.torch import TorchRLModule

from agentcomm.runs.assembly import charge_for_messages, make_codec, make_policy, make_world, shape_of
from agentcomm.runs.config import RunConfig


class CommModule(TorchRLModule):
    """Holds a :class:`agentcomm.contracts.policy.CommPolicy`; ``model_config`` names the run, variant and seed.

    Sampling and the loss use ``self.policy`` directly, because both need messages, which RLlib's
    forward methods do not support.
    """

    def setup(self) -> None:
        """Build the policy with weights initialized from the team's seed."""
        settings = self.model_config
        run = RunConfig.model_validate(settings["run"])
        run.import_plugins()
        with closing(make_world(run.environment, 1)) as world:
            self.policy = make_policy(run.policy, world, settings["variant"], settings["seed"])
            charge_for_messages(self.policy, make_codec(shape_of(world, self.policy), run.transport))

    def _forward(self, batch: dict[str, Any], **kwargs: Any) -> dict[str, Any]:
        raise NotImplementedError(
            "a communicating policy acts through agentcomm.step.decide.decide, which passes the network"
        )

    def get_inference_action_dist_cls(self) -> type:
        """Not supported: RLlib never samples actions itself here."""
        raise NotImplementedError("a communicating policy acts through agentcomm.step.decide.decide")
