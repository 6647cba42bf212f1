"""The term of a teacher: whom its gradient moves, what is left out, and what a step's batches share."""

from __future__ import annotations

from dataclasses import replace

import pytest
import torch

import partial_batches
from labelwise.composition import Method
from labelwise.composition.method import taught_together
from labelwise.errors import LabelwiseError
from labelwise.losses.distillation import feature_distance, presence, score_divergence
from labelwise.taught import TeacherBatch
from labelwise.terms.teacher import TeacherTerm
from labelwise.training.mixup import cut_mix, mix
from labelwise.types import Batch, Targets
from partial_batches import LABELS, a_batch

WIDTH = 11


def taught_batch(rows: int = 6, seed: int = 0, features: bool = True) -> Batch:
    """A batch with a teacher's answers."""
    batch, g = a_batch(rows, seed=seed), torch.Generator().manual_seed(100 + seed)
    z = torch.randn(rows, LABELS, generator=g)
    of = torch.nn.functional.normalize(torch.randn(rows, LABELS, WIDTH, generator=g), dim=2)
    weights, seen = presence(batch.targets, z), torch.ones(rows, dtype=torch.bool)
    return replace(batch, taught=TeacherBatch(z, of if features else None, weights, seen))


def student(logits: float = 1.0, features: float = 1.0, temperature: float = 1.0) -> Method:
    """A small method with the term."""
    method = partial_batches.build()
    method.terms["teacher"] = TeacherTerm(8, WIDTH, logits, features, temperature)
    return method


def test_the_slope_of_the_scores_is_their_difference() -> None:
    """d/dz of T^2 KL(q || p) is T (p - q): zero where both agree, whatever the temperature."""
    z = torch.linspace(-4, 4, 12, dtype=torch.float64).reshape(3, 4).requires_grad_()
    u = torch.linspace(3, -5, 12, dtype=torch.float64).reshape(3, 4)
    for t in (1.0, 3.0):
        q = (u / t).sigmoid()
        (gradient,) = torch.autograd.grad(score_divergence(z, q, t).sum(), z)
        torch.testing.assert_close(gradient, t * ((z / t).sigmoid() - q).detach())
    equal = score_divergence(u, u.sigmoid())
    torch.testing.assert_close(equal, torch.zeros_like(equal), rtol=0, atol=1e-12)
    surest = score_divergence(torch.tensor([[0.0]]), torch.tensor([[1.0]]))
    assert surest.item() == pytest.approx(0.6931, abs=1e-4)


def test_the_slope_of_the_features() -> None:
    f = torch.randn(2, 3, 4, dtype=torch.float64, requires_grad=True)
    g = torch.randn(2, 3, 4, dtype=torch.float64)
    assert torch.autograd.gradcheck(lambda f: feature_distance(f, g), (f,))


def test_it_moves_the_student_and_nobody_else() -> None:
    method, batch = student(), taught_batch()
    terms = method(batch)
    torch.testing.assert_close(terms["loss"], sum(v for k, v in terms.items() if k != "loss"))
    (terms["teacher_logits"] + terms["teacher_features"]).backward()
    assert [name for name, p in method.named_parameters() if p.grad is None or not p.grad.any()] == []
    assert not any(getattr(batch.taught, name).requires_grad for name in ("logits", "features", "weights"))


def test_unknown_cells_learn_scores_too() -> None:
    method, batch = student(features=0.0), taught_batch()
    before = method(batch)["teacher_logits"]
    for known in (True, False):
        batch.targets = Targets(batch.targets.values, torch.full_like(batch.targets.known, known))
        assert torch.equal(method(batch)["teacher_logits"], before)
    assert before > 0


def test_absent_labels_have_no_feature_to_learn() -> None:
    method, batch = student(logits=0.0), taught_batch()
    assert batch.taught is not None
    absent = batch.targets.known & (batch.targets.values == 0)
    assert absent.any()
    changed = batch.taught.features.flip(0)  # type: ignore[union-attr]
    other = torch.where(absent[:, :, None], changed, batch.taught.features)  # type: ignore[arg-type]
    before = method(batch)["teacher_features"]
    batch.taught = replace(batch.taught, features=other)
    assert torch.equal(method(batch)["teacher_features"], before)


def test_rows_that_are_not_seen_teach_nothing() -> None:
    method, batch = student(temperature=2.0), taught_batch()
    t = batch.taught
    assert t is not None
    seen = torch.tensor([True, False, True, True, False, True])
    half = replace(t, seen=seen, weights=t.weights * seen[:, None])
    few = Batch(batch.images[seen], batch.targets[seen], batch.index[seen])
    few.taught = TeacherBatch(t.logits[seen], t.features[seen], t.weights[seen], t.seen[seen])  # type: ignore[index]
    losses, expected = method(replace(batch, taught=half)), method(few)
    for name in ("teacher_logits", "teacher_features"):
        torch.testing.assert_close(losses[name], expected[name])
    nothing = replace(t, seen=t.seen & False, weights=0 * t.weights)
    for answers in (nothing, None):
        terms = method(replace(batch, taught=answers))
        loss = terms["teacher_logits"] + terms["teacher_features"]
        assert loss.item() == 0
        loss.backward()
    assert not method.terms["teacher"].map.weight.grad.any()  # type: ignore[union-attr, operator]


def test_equal_widths_need_no_map() -> None:
    assert list(TeacherTerm(WIDTH, WIDTH).parameters()) == []
    assert list(TeacherTerm(8, WIDTH, features=0.0).parameters()) == []
    assert len(list(TeacherTerm(8, WIDTH).parameters())) == 2


def test_batches_of_a_step_share_what_they_divide_by() -> None:
    parts = [taught_batch(6, 1).taught, taught_batch(2, 2).taught]
    one, other = taught_together([part for part in parts if part is not None])
    assert one.images == other.images == 4
    total = sum(float(part.weights.sum()) for part in parts if part is not None)
    assert one.cells == other.cells
    assert one.cells.item() == pytest.approx(total / 2)  # type: ignore[union-attr]


def test_mixup_blends_scores_as_it_blends_images() -> None:
    batch = taught_batch(5)
    torch.manual_seed(4)
    mixed = mix(batch, 1.0, "pair")
    assert mixed.taught is not None
    assert batch.taught is not None
    assert mixed.taught.features is None
    share, q = mixed.taught.share, batch.taught.logits.sigmoid()
    assert share is not None
    for i in range(5):
        t = share[i].item()
        torch.testing.assert_close(mixed.images[i], t * batch.images[i] + (1 - t) * batch.images[4 - i])
        torch.testing.assert_close(mixed.taught.scores(1.0)[i], t * q[i] + (1 - t) * q[4 - i])
    assert len({round(v, 6) for v in share.tolist()}) == 3


def test_cutmix_blends_scores_by_what_is_left_to_see() -> None:
    batch = taught_batch(6)
    torch.manual_seed(4)
    pasted = cut_mix(batch, 1.0)
    assert pasted.taught is not None
    assert pasted.taught.share is not None
    left = (pasted.images == batch.images).all(1).flatten(1).float().mean(1)
    torch.testing.assert_close(pasted.taught.share, left)


def test_a_joined_image_is_seen_where_both_are() -> None:
    batch = taught_batch(4)
    assert batch.taught is not None
    seen = torch.tensor([True, True, True, False])
    joined = replace(batch.taught, seen=seen).joined(torch.tensor([0.5, 0.5, 0.5, 0.5]))
    assert joined.seen.tolist() == [False, True, True, False]
    alone = replace(batch.taught, seen=seen).joined(torch.ones(4))
    assert alone.seen.tolist() == seen.tolist()


@pytest.mark.parametrize(
    ("options", "says"),
    [
        ({"logits": -1.0}, "teacher.logits=-1.0; expected a number from 0"),
        ({"features": -1.0}, "teacher.features=-1.0; expected a number from 0"),
        ({"temperature": 0.0}, "teacher.temperature=0.0; expected a number above 0"),
    ],
)
def test_wrong_options_are_refused(options: dict[str, float], says: str) -> None:
    with pytest.raises(LabelwiseError) as error:
        student(**options)
    assert says in str(error.value)
