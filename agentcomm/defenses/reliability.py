"""reliability: scale each message by how reliable a network takes it to be.

ADMAC (Yu et al., "Robust communicative multi-agent reinforcement learning with active defense", AAAI 2024) lets a
network weigh every message in (0, 1). It learns from labels: a message is reliable if it raises the preference for
the best action more than that for actions on average. Of the training data, a third are random replacements, a third
are gradient attacks of fixed length, and a third are clean.

Here the team is given. The effect of a message is the difference between the team's action logits with it and with an
empty payload in its place, the best action is that on clean messages, and clean messages count as reliable. ADMAC's
policy adds up the effects of messages, so that a weight scales an effect; here it scales the payload, which most
policies do not take linearly. The network reads the message, its inbox, what the receiver itself says in place of its
hidden state, claimed sender and round. The score is the logit for "unreliable". Up to the threshold from held-out
clean episodes (:mod:`agentcomm.defenses.parts.detector`) the weight is 1, and falls beyond.

What it cannot stop: messages that pass for clean ones and change the action all the same, and attacks unlike those
that it was trained on (IBGP, 2024, finds it weak against these). Teams whose agents act in turns have no logits to
learn from.
"""

from __future__ import annotations

from typing import ClassVar

import torch
from torch import Tensor, nn

from agentcomm.base.masks import finite
from agentcomm.contracts.examples import Examples
from agentcomm.contracts.verdicts import Delivered, Verdicts
from agentcomm.defenses.parts.detector import Detector, DetectorConfig, Messages
from agentcomm.defenses.parts.features import Features, flat
from agentcomm.defenses.parts.networks import BATCH, RATE, STEPS, balanced, network

SAMPLES = 512  # exchanges whose messages are labeled
SLOTS = 8  # labeled messages per inbox
SHARE = 0.5  # of the messages of an inbox that are attacked in the attacked two thirds


class ReliabilityConfig(DetectorConfig):
    """Arguments of ``reliability``."""


class Reliability(Detector[ReliabilityConfig]):
    """Scales messages by a learned weight in (0, 1]."""

    answers = ("aa.l3.cross_agent_input_detection",)
    adaptive = ("sleeper", "gradient:adaptive=true")
    changes_payloads: ClassVar[bool] = True
    differentiable: ClassVar[bool] = True

    def fit(self, messages: Messages, examples: Examples) -> None:
        """Label attacked and clean messages by their effect on the best action, and train the network."""
        g = examples.generator
        order = torch.randperm(len(examples.step), generator=g, device=g.device)[:SAMPLES]
        examples, messages = examples.take(order), messages.rows(order)
        best = self._scores(examples, examples.payload).detach().argmax(-1)
        payload, attacked = self._attacked(examples, best)
        unreliable, labeled = self._labels(examples, payload, attacked, best)
        features = Features(messages, self.team_shape.num_agents, self.rounds)
        self.network = nn.Sequential(features, network(features.size, 1, payload.device))
        made = messages._replace(payload=payload, present=messages.present)
        self._train(flat(made), unreliable.flatten(0, 1).unsqueeze(1), labeled.flatten(0, 1).unsqueeze(1), g)

    def _attacked(self, examples: Examples, best: Tensor) -> tuple[Tensor, Tensor]:
        """Payloads [S, N, k, D] with attacks, and which were attacked [S, N, k] bool.

        Args:
            examples: Clean messages.
            best: [S, N] int64, best actions.
        """
        g, clean = examples.generator, examples.payload
        known = clean[examples.present]
        third = torch.randint(3, (len(clean), 1, 1), generator=g, device=g.device)
        chosen = torch.rand(examples.present.shape, generator=g, device=g.device) < SHARE
        where = examples.present & chosen & (third > 0)
        leaf = clean.clone().requires_grad_()
        preference = self._scores(examples, leaf).log_softmax(-1).gather(-1, best.unsqueeze(-1)).sum()
        (slope,) = torch.autograd.grad(preference, leaf, allow_unused=True, materialize_grads=True)
        length = known.norm(dim=-1).mean() * (0.2 + 1.8 * torch.rand(len(clean), 1, 1, 1, generator=g, device=g.device))
        against = clean - length * nn.functional.normalize(slope, dim=-1)
        noise = torch.randn(clean.shape, generator=g, device=g.device)
        replaced = known.mean(0) + 1.5 * known.std(0) * noise
        payload = torch.where((third == 1).unsqueeze(-1), replaced, against)
        return torch.where(where.unsqueeze(-1), payload, clean), where

    def _scores(self, examples: Examples, payload: Tensor) -> Tensor:
        """[S, N, A], how the team's agents weigh each option of the action space."""
        return self.team_shape.actions.option_scores(examples.logits(payload))

    def _labels(self, examples: Examples, payload: Tensor, attacked: Tensor, best: Tensor) -> tuple[Tensor, Tensor]:
        """Which messages are unreliable, and which are labeled at all, [S, N, k] bool each."""
        unreliable, labeled = torch.zeros_like(attacked), torch.zeros_like(attacked)
        slots = payload.shape[2]
        some = torch.randperm(slots, generator=examples.generator, device=payload.device)[:SLOTS].tolist()
        with torch.no_grad():
            whole = self._scores(examples, payload)
            for slot in some:
                without = payload.clone()
                without[:, :, slot] = 0.0
                effect = whole - self._scores(examples, without)
                raised = effect.gather(-1, best.unsqueeze(-1)).squeeze(-1) >= effect.mean(-1)
                unreliable[:, :, slot] = attacked[:, :, slot] & ~raised
                labeled[:, :, slot] = examples.present[:, :, slot]
        return unreliable, labeled

    def _train(self, made: Messages, unreliable: Tensor, labeled: Tensor, g: torch.Generator) -> None:
        """Train the network on labeled messages, one inbox per row."""
        optimizer = torch.optim.AdamW(self.network.parameters(), RATE, weight_decay=1e-3)
        for _ in range(STEPS):
            rows = torch.randint(len(labeled), (BATCH,), generator=g, device=g.device)
            where = labeled[rows]
            if not bool(where.any()):
                continue
            loss = balanced(self.network(made.rows(rows)).squeeze(-1), unreliable[rows], where)
            optimizer.zero_grad()
            loss.backward()  # type: ignore[no-untyped-call]
            optimizer.step()
        self.network.requires_grad_(False)

    def score(self, messages: Messages, memory: dict[str, Tensor]) -> Tensor:
        """The logit for "unreliable"."""
        logit: Tensor = self.network(messages).squeeze(-1)
        return logit

    def screen(self, delivered: Delivered, memory: dict[str, Tensor]) -> Verdicts:
        """Scale payloads by their weights; those that are not finite are refused."""
        score, flagged = self.judged(delivered, memory)
        broken = flagged & ~finite(delivered.payload)
        return Verdicts(refuse=broken, scale=self.weights(score, flagged, sharpness=1.0), score=score)
