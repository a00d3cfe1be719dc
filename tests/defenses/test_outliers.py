"""outliers: its scores are those of scikit-learn on the same features."""

from __future__ import annotations

import pytest
import torch
from torch import Tensor

from agentcomm.defenses.outliers import NEAREST, SAMPLES, Density, Forest
from agentcomm.statistics.detection import auroc

ensemble = pytest.importorskip("sklearn.ensemble", reason="scikit-learn is the oracle of this test")
neighbors = pytest.importorskip("sklearn.neighbors", reason="scikit-learn is the oracle of this test")


def features() -> tuple[Tensor, Tensor, Tensor]:
    """Clean messages to fit, and clean and odd ones to score: two clusters, and what is between."""
    g = torch.Generator().manual_seed(0)
    mix = torch.randn(6, 6, generator=g) / 2

    def clean(number: int) -> Tensor:
        side = 2.0 * torch.randint(2, (number, 1), generator=g) - 1
        return 2 * side + torch.randn(number, 6, generator=g) @ mix

    odd = torch.randn(300, 6, generator=g)
    return clean(1000), clean(300), odd


def of(clean: Tensor, odd: Tensor) -> float:
    """How well scores tell odd messages from clean ones."""
    label = torch.cat([torch.zeros(len(clean)), torch.ones(len(odd))]).bool()
    return auroc(torch.cat([clean, odd]).double().numpy(), label.numpy())


def test_local_outlier_factors_are_scikit_learns() -> None:
    known, clean, odd = features()
    known, density = known[:256], Density.of(known[:256])
    oracle = neighbors.LocalOutlierFactor(n_neighbors=NEAREST, novelty=True).fit(known.numpy())
    for some in (clean, odd):
        expected = torch.as_tensor(-oracle.score_samples(some.numpy())).float()
        torch.testing.assert_close(density.factor(some), expected, rtol=1e-3, atol=1e-3)
    scores = [torch.as_tensor(-oracle.score_samples(some.numpy())) for some in (clean, odd)]
    assert of(density.factor(clean), density.factor(odd)) == pytest.approx(of(*scores), abs=1e-3)


def test_isolation_forests_score_as_scikit_learns() -> None:
    """Trees are random: two forests, ours or scikit-learn's, differ about as much as two of scikit-learn's."""
    known, clean, odd = features()
    both = torch.cat([clean, odd])
    ours, theirs = [], []
    for seed in (1, 2):
        ours.append(Forest.grow(known, 400, torch.Generator().manual_seed(seed)).score(both))
        made = ensemble.IsolationForest(n_estimators=400, max_samples=SAMPLES, random_state=seed).fit(known.numpy())
        theirs.append(torch.as_tensor(-made.score_samples(both.numpy())).float())
    apart, alike = float((theirs[0] - theirs[1]).abs().mean()), correlation(*theirs)
    for mine, other in zip(ours, theirs, strict=True):
        assert float((mine - other).abs().mean()) < 1.5 * apart
        assert correlation(mine, other) > alike - 0.01
    areas = [sum(of(score[:300], score[300:]) for score in scores) / 2 for scores in (ours, theirs)]
    assert min(areas) > 0.8
    assert areas[0] == pytest.approx(areas[1], abs=0.03)


def correlation(one: Tensor, other: Tensor) -> float:
    """Pearson's."""
    return float(torch.corrcoef(torch.stack([one, other]))[0, 1])
