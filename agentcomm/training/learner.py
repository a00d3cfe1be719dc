"""The update of ``agentcomm.training.ppo`` as RLlib's Learner."""

from __future__ import annotations

from collections.abc import Iterator
from typing import Any

import numpy as np
import torch
from ray.rllib.core import DEFAULT_MODULE_ID
from ray.rllib.core.learner.torch.torch_learner import TorchLearner
from ray.rllib.policy.sample_batch import MultiAgentBatch, SampleBatch
from ray.rllib.utils.metrics import NUM_ENV_STEPS_SAMPLED_LIFETIME

from agentcomm.base.seeds import derive
from agentcomm.training.ppo import Update, ppo_loss

SHUFFLE = "shuffle_generator"


class CommLearner(TorchLearner):
    """Iterates over minibatches in the order of its own generator and updates model and graph.

    RLlib manages optimizers, metrics, checkpoints and devices.
    """

    def configure_optimizers_for_module(self, module_id: str, config: Any = None) -> None:
        """One Adam for the model, one for the graph; both are registered, so checkpoints hold them."""
        policy = self.module[module_id].policy
        graph = policy.graph_parameters()
        own = {id(p) for p in graph}
        model = [p for p in policy.parameters() if id(p) not in own]
        optimizer = torch.optim.Adam(model, fused=True)
        self.register_optimizer(module_id=module_id, optimizer=optimizer, params=model, lr_or_lr_schedule=config.lr)
        graph_optimizer = None
        if graph:
            graph_optimizer = torch.optim.Adam(graph)
            self.register_optimizer(
                module_id=module_id,
                optimizer_name="graph",
                optimizer=graph_optimizer,
                params=graph,
                lr_or_lr_schedule=policy.topology.config.learning_rate,
            )
        generator = torch.Generator(self.device)
        generator.manual_seed(derive(int(config.env_config["seed"]), "shuffle"))
        self.steps = Update(policy, config.settings(), optimizer, graph_optimizer, generator)
        self._ratio_errors: list[torch.Tensor] = []

    def before_gradient_based_update(self, *, timesteps: dict[str, Any]) -> None:
        """Anneal rates to the share of training done before this batch was sampled."""
        super().before_gradient_based_update(timesteps=timesteps)
        sampled = timesteps.get(NUM_ENV_STEPS_SAMPLED_LIFETIME, 0) - self.config.total_train_batch_size
        self._progress = max(sampled, 0) / self.config.env_config["run"]["training"]["env_steps"]
        self.steps.anneal_rates(self._progress)

    def after_gradient_based_update(self, *, timesteps: dict[str, Any]) -> None:
        """Anneal the policy, for the next rollout and the next update."""
        done = timesteps.get(NUM_ENV_STEPS_SAMPLED_LIFETIME, 0) / self.config.env_config["run"]["training"]["env_steps"]
        self.steps.anneal_policy(done)
        self.steps.check_weights()
        statistics = {name: float(value.detach()) for name, value in self._last.items()}
        statistics["first_ratio_error"] = float(self._ratio_errors[0])
        statistics["learning_rate"] = self.steps.learning_rate
        self.metrics.log_dict(statistics, key=DEFAULT_MODULE_ID, window=1)
        super()._log_steps_trained_metrics(self._trained)

    def _create_iterator_if_necessary(self, *, training_data: Any, **kwargs: Any) -> Iterator[MultiAgentBatch]:
        batch = self._make_batch_if_necessary(training_data)
        columns = dict(batch.policy_batches[DEFAULT_MODULE_ID].items())
        self._trained = batch
        self._ratio_errors.clear()
        for rows in self.steps.minibatches(columns):
            count = len(rows["advantage"])
            yield MultiAgentBatch({DEFAULT_MODULE_ID: SampleBatch(rows)}, env_steps=count)

    def _log_steps_trained_metrics(self, batch: MultiAgentBatch) -> None:
        """Do nothing per minibatch, where logging is slow; ``after_gradient_based_update`` logs once per update."""

    def _update(self, batch: dict[str, Any], **kwargs: Any) -> tuple[Any, Any, Any]:
        stats = self.steps.step(dict(batch[DEFAULT_MODULE_ID].items()))
        self._last = stats
        self._ratio_errors.append(stats["ratio_error"])
        return {}, {DEFAULT_MODULE_ID: stats["loss"]}, {}

    def compute_loss_for_module(self, *, module_id: str, config: Any, batch: dict[str, Any], fwd_out: Any) -> Any:
        """The model's loss on rows of a batch, for callers that go through RLlib's own hooks."""
        policy, settings = self.module[module_id].policy, config.settings()
        return ppo_loss(policy, batch, settings, self.steps.entropy, graph_gradient=False)[0]

    def parameter_shapes(self) -> dict[str, list[tuple[int, ...]]]:
        """Shapes of the parameters of every optimizer, in its order."""
        return {
            name: [tuple(p.shape) for group in optimizer.param_groups for p in group["params"]]
            for name, optimizer in self._named_optimizers.items()
        }

    def get_state(self, components: Any = None, *, not_components: Any = None, **kwargs: Any) -> dict[str, Any]:
        """RLlib's state, and the generator that shuffles rows."""
        state: dict[str, Any] = super().get_state(components, not_components=not_components, **kwargs)
        if self._check_component(SHUFFLE, components, not_components):
            state[SHUFFLE] = self.steps.generator.get_state().numpy().copy()
        return state

    def set_state(self, state: dict[str, Any]) -> None:
        """Restore RLlib's state and the generator."""
        super().set_state(state)
        if SHUFFLE in state:
            self.steps.generator.set_state(torch.as_tensor(np.array(state[SHUFFLE])))
