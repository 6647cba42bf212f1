"""The linear probe: optima against scikit-learn's, whole runs, and what is refused."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from sklearn.linear_model import LogisticRegression

from labelwise.errors import LabelwiseError
from labelwise.runs.config import make_config
from labelwise.training.fit import train
from labelwise.training.logistic import solve
from tiny_runs import scenes, settings


def linear(source: Path, **changes: Any) -> dict[str, Any]:
    base = settings(f"parquet:{source}", method="baseline-gap", optim={"name": "exact"})
    base.pop("extractor")
    base["backbone"] = {"name": "test_vit", "weights": "none", "freeze": True}
    return {**base, **changes}


def test_optima_are_those_of_scikit_learn(seeded: torch.Generator) -> None:
    n, d, labels = 300, 20, 3
    features = torch.randn(n, d) * (torch.rand(d) * 5 + 0.1) + torch.randn(d)
    values = (torch.randn(n, labels) + features[:, :labels] / 5 > 0.7).float()
    known = torch.rand(n, labels) < 0.6
    strengths = torch.tensor([1e-3, 0.03, 1.0])[:, None].expand(-1, labels)
    solution = solve(features, values.masked_fill(~known, 0.5), known, strengths, tolerance=1e-5)
    mean, deviation = features.mean(0).numpy(), features.std(0, correction=0).numpy()
    for i, strength in enumerate(strengths[:, 0].tolist()):
        for j in range(labels):
            of = known[:, j].numpy()
            oracle = LogisticRegression(C=1 / (strength * of.sum()), tol=1e-9, max_iter=10_000)
            oracle.fit(((features.numpy() - mean) / deviation)[of], values[:, j].numpy()[of])
            weight = oracle.coef_[0] / deviation
            assert np.allclose(solution.weight[i, j], weight, atol=2e-3 * np.abs(weight).max())
            assert np.isclose(solution.bias[i, j], oracle.intercept_[0] - mean @ weight, atol=5e-3)


def test_a_label_without_known_cells_and_one_without_positives_stay_finite() -> None:
    features, values = torch.randn(30, 4), torch.zeros(30, 2)
    known = torch.stack([torch.zeros(30, dtype=torch.bool), torch.ones(30, dtype=torch.bool)], 1)
    solution = solve(features, values, known, torch.full((1, 2), 0.1))
    assert solution.weight[0, 0].abs().max() == 0
    assert solution.bias[0, 0] == 0
    assert solution.bias[0, 1] < -3
    assert torch.isfinite(solution.weight).all()


def test_a_whole_run_is_at_its_optimum_and_goes_on(
    tmp_path: Path, tmp_path_factory: pytest.TempPathFactory
) -> None:
    source = scenes(tmp_path_factory.getbasetemp())
    run = train(make_config(linear(source)), tmp_path / "a", quiet=True)
    model = run.model()
    assert run.config.loss == {"name": "bce"}
    again = train(make_config(linear(source)), tmp_path / "b", quiet=True)
    for one, other in zip(model.state_dict().values(), again.model().state_dict().values(), strict=True):
        assert torch.equal(one, other)
    weights = (tmp_path / "a" / "model.safetensors").read_bytes()
    (tmp_path / "a" / "results.json").unlink()
    train(make_config(linear(source)), tmp_path / "a", quiet=True, resume=True)
    assert (tmp_path / "a" / "model.safetensors").read_bytes() == weights
    assert (tmp_path / "a" / "results.json").is_file()


@pytest.mark.parametrize(
    ("changes", "given"),
    [
        ({"method": "dlfl"}, "method dlfl"),
        ({"backbone": {"name": "test_vit", "weights": "none"}}, "a backbone that learns"),
        ({"loss": {"name": "focal"}}, "loss.name=focal"),
        ({"unknown": {"name": "an"}}, "--unknown an"),
        ({"discriminative": {"weight": 0.1}}, "a term of the loss (discriminative)"),
        ({"mixup": 0.2}, "mixup or cutmix"),
    ],
)
def test_what_is_no_linear_probe_is_refused(changes: dict[str, Any], given: str) -> None:
    with pytest.raises(LabelwiseError, match=r"optim\.name=exact with") as caught:
        make_config(linear(Path("t.parquet"), **changes))
    assert given in str(caught.value)
