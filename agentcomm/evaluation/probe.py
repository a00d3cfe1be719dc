"""Probe: a classifier that infers a fact from intercepted messages, compared with the prior.

A small network is trained on some episodes and tested on others. Its gain in bits is a lower bound of the mutual
information between the fact and the features (Barber and Agakov 2003): a better probe may find more.
"""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
import torch
from torch import Tensor, nn

from agentcomm.statistics import ratio


@dataclass(frozen=True)
class Finding:
    """The performance of a probe on test episodes.

    Attributes:
        accuracy: Share of correctly classified samples.
        prior: Accuracy of always predicting the most frequent class in training.
        gain: 95% interval of accuracy - prior over test episodes; None with fewer than ``MIN_EPISODES``.
        bits: Entropy of the fact minus the probe's cross-entropy, in bits; below 0 if the probe overfits.
        entropy: Entropy of the fact, in bits, by the frequencies in training.
        classes: Number of classes in training.
        samples: Number of test samples.
    """

    accuracy: float
    prior: float
    gain: tuple[float, float] | None
    bits: float
    entropy: float
    classes: int
    samples: int


MIN_EPISODES = 10
EPOCHS, BATCH, PATIENCE = 60, 512, 5


def probe(features: Tensor, fact: Tensor, episode: Tensor, seed: int = 0, hidden: int = 64) -> Finding:
    """Train a probe on half of the episodes, with early stopping on a quarter, and test it on the last quarter.

    Args:
        features: [S, F] features of the intercepted messages.
        fact: [S] int64 classes; samples with -1 are excluded.
        episode: [S] int64, the episode of each sample; episodes are not split.
        seed: Seed of its weights and batches.
        hidden: Width of its hidden layer; 0 for logistic regression.

    Raises:
        ValueError: If there are no episodes for training, early stopping or testing.
    """
    asked = fact >= 0
    features, fact, episode = features[asked].float(), fact[asked], episode[asked]
    part = episode % 4
    train, stop, test = part < 2, part == 2, part == 3
    if not (bool(train.any()) and bool(stop.any()) and bool(test.any())):
        raise ValueError("too few episodes to train, stop and test a probe")
    classes = int(fact.max()) + 1
    mean, spread = features[train].mean(0), features[train].std(0)
    # Features that hardly vary in training must not become huge in test.
    features = (features - mean) / spread.clamp_min(0.1) * (spread > 0)
    count = torch.bincount(fact[train], minlength=classes).double()
    # Add-one smoothing: a class that occurs only in test must not cost infinitely many bits.
    frequency = (count + 1) / (count.sum() + classes)
    model = _fit(features, fact, train, stop, classes, seed, hidden)
    with torch.no_grad():
        log_probability = model(features[test]).log_softmax(-1).double()
    truth = fact[test]
    right = (log_probability.argmax(-1) == truth).double()
    usual = (truth == int(count.argmax())).double()
    nats = log_probability.gather(1, truth.unsqueeze(1)).squeeze(1) - frequency[truth].log()
    return Finding(
        accuracy=float(right.mean()),
        prior=float(usual.mean()),
        gain=_interval(right - usual, episode[test]),
        bits=float(nats.mean() / np.log(2)),
        entropy=float(-(frequency * frequency.log2()).sum()),
        classes=int((count > 0).sum()),
        samples=len(truth),
    )


def guesses(features: Tensor, fact: Tensor, episode: Tensor, seed: int = 0, hidden: int = 64) -> Tensor:
    """[S] int64, the class of each sample as guessed by a probe that was trained on the other half of the episodes.

    Args:
        features: [S, F] features of the intercepted messages.
        fact: [S] int64 classes; samples with -1 are guessed, but not trained with.
        episode: [S] int64, the episode of each sample; episodes are not split.
        seed: Seed of the weights and batches.
        hidden: Width of the hidden layer; 0 for logistic regression.
    """
    features, out, classes = features.float(), torch.zeros_like(fact), int(fact.max().clamp_min(0)) + 1
    for half in (0, 1):
        other = (episode % 2 != half) & (fact >= 0)
        stop = other & (episode // 2 % 4 == 0)
        train, mine = other & ~stop, episode % 2 == half
        if not (bool(train.any()) and bool(stop.any())):
            continue  # too few episodes to learn from: the first class
        mean, spread = features[train].mean(0), features[train].std(0, correction=0)
        scaled = (features - mean) / spread.clamp_min(0.1) * (spread > 0)
        model = _fit(scaled, fact, train, stop, classes, seed, hidden)
        with torch.no_grad():
            out[mine] = model(scaled[mine]).argmax(-1)
    return out


def _fit(
    features: Tensor, fact: Tensor, train: Tensor, stop: Tensor, classes: int, seed: int, hidden: int
) -> nn.Module:
    """A model trained with early stopping on the samples ``stop``."""
    with torch.random.fork_rng(devices=[]):
        torch.manual_seed(seed)
        layers: list[nn.Module] = [nn.Linear(features.shape[1], hidden or classes)]
        if hidden:
            layers += [nn.ReLU(), nn.Linear(hidden, classes)]
        model = nn.Sequential(*layers).to(features.device)
    generator = torch.Generator().manual_seed(seed)
    optimizer = torch.optim.AdamW(model.parameters(), 3e-3, weight_decay=1e-3)
    rows = train.nonzero().squeeze(1)
    best, kept, waited = float("inf"), {k: v.clone() for k, v in model.state_dict().items()}, 0
    for _ in range(EPOCHS):
        for batch in torch.split(rows[torch.randperm(len(rows), generator=generator)], BATCH):
            loss = nn.functional.cross_entropy(model(features[batch]), fact[batch])
            optimizer.zero_grad()
            torch.autograd.backward(loss)
            optimizer.step()
        with torch.no_grad():
            held = float(nn.functional.cross_entropy(model(features[stop]), fact[stop]))
        if held < best - 1e-4:
            best, kept, waited = held, {k: v.clone() for k, v in model.state_dict().items()}, 0
        elif (waited := waited + 1) == PATIENCE:
            break
    model.load_state_dict(kept)
    return model


def _interval(difference: Tensor, episode: Tensor) -> tuple[float, float] | None:
    """Interval of the mean over samples; whole episodes are independent, samples of one episode are not."""
    _, place = torch.unique(episode, return_inverse=True)
    episodes = int(place.max()) + 1
    if episodes < MIN_EPISODES:
        return None
    total = np.bincount(place.numpy(), difference.numpy(), episodes)
    return ratio(total, np.bincount(place.numpy(), minlength=episodes)).interval
