"""What every registered method keeps, on every family of backbones."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import pytest
import torch
from safetensors.torch import load_file, save_file
from timm.models import register_model
from timm.models.swin_transformer import SwinTransformer
from torch import Tensor

from labelwise.composition import Method
from labelwise.errors import LabelwiseError
from labelwise.extractors import Pooled
from labelwise.methods import create_method, create_model
from labelwise.registry import list_methods
from labelwise.taught import TeacherBatch
from labelwise.terms.teacher import TeacherTerm
from labelwise.types import Batch, LabelPriors, LabelSet, Targets

LABELS = 7  # no other dimension of these models is 7, so that a dimension of 7 is the labels'
NAMES = tuple("abcdefg")
BACKBONES = ("test_resnet", "test_convnext", "test_vit", "tiny_swin", "test_efficientnet")
every_method = pytest.mark.parametrize("name", list_methods())


def in_turn(*shifts: int) -> pytest.MarkDecorator:
    """Every method, and every family of backbones with methods in their turn: a method sees a map alone."""
    pairs = [(name, BACKBONES[(i + more) % 5]) for i, name in enumerate(list_methods()) for more in shifts]
    return pytest.mark.parametrize(("name", "backbone"), pairs)


@register_model
def tiny_swin(**options: Any) -> SwinTransformer:
    """A Swin transformer of a third of a million parameters, for timm has none that small."""
    small = {
        "patch_size": 4,
        "window_size": 4,
        "embed_dim": 16,
        "depths": (1,) * 4,
        "num_heads": (1, 2, 2, 4),
    }
    meant_for_timm = ("pretrained", "pretrained_cfg", "pretrained_cfg_overlay", "cache_dir")
    return SwinTransformer(**small, **{k: v for k, v in options.items() if k not in meant_for_timm})


def build(name: str, backbone: str = "test_resnet", **options: Any) -> Method:
    """A method in the middle of its training, whose labels differ."""
    torch.manual_seed(0)
    options.setdefault("priors", LabelPriors.count(a_batch(40, 4, 4).targets))
    method = create_method(name, NAMES, backbone, weights="none", image_size=64, **options)
    with torch.no_grad():  # queries and biases away from 0
        for key, p in method.model.named_parameters():
            if LABELS in p.shape and not key.startswith("backbone."):
                p.normal_()
    method.eval()
    method.clock = 6, 10
    method.start_epoch(lambda: [a_batch(8)])
    torch.manual_seed(0)
    return method


def a_batch(rows: int = 3, h: int = 64, w: int = 64) -> Batch:
    generator = torch.Generator().manual_seed(0)
    images = torch.randint(0, 256, (rows, 3, h, w), generator=generator, dtype=torch.uint8)
    values = torch.randint(0, 2, (rows, LABELS), generator=generator).float()
    known = torch.rand(rows, LABELS, generator=generator) < 0.7
    return Batch(images, Targets(values, known), torch.arange(rows))


def gradients(method: Method) -> dict[str, Tensor | None]:
    return {name: p.grad for name, p in method.named_parameters() if p.requires_grad}


@torch.no_grad()
@in_turn(0, 2)
def test_shapes_and_maps(name: str, backbone: str) -> None:
    """Of images of another size than the method was built for, neither side as long as the other."""
    model, images = build(name, backbone).model, a_batch(2, 96, 128).images
    seen = model.backbone(images)
    out = model(images, want_maps=True)
    assert out.logits.shape == (2, LABELS)
    assert out.logits.dtype == torch.float32
    assert out.features.shape[:2] == (2, LABELS)
    assert model(seen, is_map=True).maps is None
    assert out.maps is not None
    assert out.maps.shape == (2, LABELS, *seen.shape[2:])
    assert (out.maps >= 0).all()
    torch.testing.assert_close(out.maps.sum((2, 3)), torch.ones(2, LABELS), rtol=0, atol=1e-5)


@torch.no_grad()
@every_method
def test_stored_maps_pass_over_the_backbone(name: str) -> None:
    model, images = build(name).model, a_batch().images
    assert torch.equal(model(model.backbone(images), is_map=True).logits, model(images).logits)


@torch.no_grad()
@every_method
def test_permuted_labels_permute_everything(name: str) -> None:
    model, images = build(name).model.double(), a_batch().images.double() / 255
    before = model(images, want_maps=True)
    order = torch.tensor([3, 0, 6, 1, 5, 2, 4])
    for key, value in model.state_dict().items():
        if not key.startswith("backbone."):
            for dim in (d for d, size in enumerate(value.shape) if size == LABELS):
                value.copy_(value.index_select(dim, order))
    after = model(images, want_maps=True)
    assert not torch.allclose(before.logits, after.logits, atol=1e-3)
    for what in ("logits", "features", "maps"):
        torch.testing.assert_close(getattr(after, what), getattr(before, what)[:, order], rtol=0, atol=1e-9)


@in_turn(0, 2)
def test_a_step_reaches_every_parameter_and_lowers_the_loss(name: str, backbone: str) -> None:
    method, batch = build(name, backbone), a_batch()
    torch.manual_seed(0)
    terms = method(batch)
    terms["loss"].backward()
    found = gradients(method)
    assert [key for key, gradient in found.items() if gradient is None] == []
    assert all(gradient.isfinite().all() for gradient in found.values())
    head = {key: g for key, g in found.items() if not key.startswith("model.backbone.")}
    assert [key for key, gradient in head.items() if not gradient.any()] == []
    assert any(g.any() for key, g in found.items() if key not in head)
    # A peak or a region may move to another place at one length of a step, but not at each.
    assert any(loss_after(method, batch, found, length) < terms["loss"] for length in (1e-3, 1e-4, 1e-5))


@torch.no_grad()
def loss_after(method: Method, batch: Batch, downhill: dict[str, Tensor], length: float) -> Tensor:
    """Loss at a point so far down the gradient from where the parameters stand, which they keep."""
    size = sum(gradient.square().sum() for gradient in downhill.values()).sqrt()
    for sign in (-1, 1):
        for key, p in method.named_parameters():
            if key in downhill:
                p += sign * length * downhill[key] / size
        if sign < 0:
            torch.manual_seed(0)
            loss = method(batch)["loss"]
    return loss


@every_method
def test_the_loss_is_the_sum_of_its_named_terms(name: str) -> None:
    terms = build(name)(a_batch())
    loss = terms.pop("loss")
    assert "classification" in terms
    torch.testing.assert_close(loss, torch.stack(list(terms.values())).sum())


def test_earlier_steps_are_supervised_at_half_weight() -> None:
    torch.manual_seed(0)
    options = {"steps": 3, "deep_supervision": True}
    terms = create_method("dlfl", NAMES, "test_resnet", weights="none", image_size=64, extractor=options)(
        a_batch()
    )
    assert set(terms) == {"loss", "classification", "step_1", "step_2"}
    torch.testing.assert_close(terms["loss"], terms["classification"] + terms["step_1"] + terms["step_2"])


@torch.no_grad()
@in_turn(0)
def test_saved_and_loaded_gives_equal_outputs(name: str, backbone: str, tmp_path: Path) -> None:
    method, images = build(name, backbone), a_batch().images
    expected = method.model(images, want_maps=True)
    save_file({k: v.contiguous() for k, v in method.state_dict().items()}, tmp_path / "m.safetensors")
    torch.manual_seed(1)
    other = create_method(name, NAMES, backbone, weights="none", image_size=64).eval()
    assert not torch.equal(other.model(images).logits, expected.logits)
    other.load_state_dict(load_file(tmp_path / "m.safetensors"), strict=True)
    found = other.model(images, want_maps=True)
    for what in ("logits", "features", "maps"):
        assert torch.equal(getattr(found, what), getattr(expected, what))


@in_turn(2)
def test_bfloat16_is_finite_and_near(name: str, backbone: str) -> None:
    method, batch = build(name, backbone), a_batch()
    expected = method(batch)["loss"].item()
    with torch.autocast("cpu", dtype=torch.bfloat16):
        loss = method(batch)["loss"]
        out = method.model(batch.images, want_maps=True)
    loss.backward()
    assert out.logits.dtype == loss.dtype == torch.float32
    assert out.logits.isfinite().all()
    assert all(gradient.isfinite().all() for gradient in gradients(method).values() if gradient is not None)
    assert loss.item() == pytest.approx(expected, rel=0.05)


@torch.no_grad()
@in_turn(1)
def test_company_in_a_batch_changes_nothing(name: str, backbone: str) -> None:
    model, images = build(name, backbone).model.double(), a_batch(4).images.double() / 255
    together = model(images).logits
    for row in (0, 3):
        torch.testing.assert_close(model(images[row : row + 1]).logits[0], together[row], rtol=0, atol=1e-9)
    torch.testing.assert_close(model(images.flip(0)).logits.flip(0), together, rtol=0, atol=1e-9)


@every_method
def test_nothing_known_is_a_loss_of_exactly_zero(name: str) -> None:
    method, batch = build(name), a_batch()
    batch.targets.known[:] = False
    loss = method(batch)["loss"]
    loss.backward()
    assert loss.item() == 0
    found = gradients(method)
    assert all(gradient is not None and not gradient.any() for gradient in found.values())


@every_method
def test_unknown_cells_have_no_influence_bit_for_bit(name: str) -> None:
    found = []
    for value in (0.0, 1.0, float("nan")):
        method, batch = build(name), a_batch()
        batch.targets.values[~batch.targets.known] = value
        loss = method(batch)["loss"]
        loss.backward()
        found.append({"loss": loss.detach(), **gradients(method)})
    assert all(torch.equal(value, other[key]) for other in found[1:] for key, value in found[0].items())


@every_method
def test_a_teacher_is_learned_by_every_method(name: str) -> None:
    """Its scores by all, its label features by those that have such; what is not seen moves nothing."""
    found = {}
    for seen in (True, False):
        method, batch = build(name), a_batch()
        shared = isinstance(method.model.extractor, Pooled)
        width = int(method.model.extractor.dim) + 1  # type: ignore[arg-type, operator]
        method.terms["teacher"] = TeacherTerm(width - 1, width, 1.0, 0.0 if shared else 1.0, 2.0)
        g = torch.Generator().manual_seed(1)
        z, f = torch.randn(3, LABELS, generator=g), torch.randn(3, LABELS, width, generator=g)
        rows = torch.tensor([seen] * 3)
        batch.taught = TeacherBatch(z, None if shared else f, z.sigmoid() * rows[:, None], rows)
        batch.targets.known[:] = False
        terms = method(batch)
        terms["loss"].backward()
        assert {key for key in terms if "teacher" in key} == (
            {"teacher_logits"} if shared else {"teacher_logits", "teacher_features"}
        )
        found[seen] = gradients(method)
    assert all(g is not None and g.isfinite().all() for g in found[True].values())
    assert all(g.any() for key, g in found[True].items() if key.startswith("terms.teacher"))
    head = "model." if shared else "model.extractor."  # a pool has nothing to learn
    assert any(g.any() for key, g in found[True].items() if key.startswith(head))
    assert not any(g.any() for g in found[False].values() if g is not None)


@torch.no_grad()
def test_a_label_of_dlfl_does_not_depend_on_another_labels_query() -> None:
    model, images = build("dlfl").model, a_batch().images
    before = model(images, want_maps=True)
    model.extractor.queries[2].normal_()
    after = model(images, want_maps=True)
    others = [label for label in range(LABELS) if label != 2]
    for what in ("features", "maps", "logits"):
        assert torch.equal(getattr(before, what)[:, others], getattr(after, what)[:, others])
        assert not torch.allclose(getattr(before, what)[:, 2], getattr(after, what)[:, 2])


@torch.no_grad()
@every_method
def test_one_image_and_one_label(name: str) -> None:
    model = create_model(name, "test_resnet", ["only"]).eval()
    assert model(a_batch(1, 32, 32).images, want_maps=True).logits.shape == (1, 1)


@pytest.mark.parametrize(
    ("options", "says"),
    [
        ({"extractor": {"widths": 3}}, "extractor.widths; expected one of dim, heads, "),
        (
            {"extractor": {"update": "replaec"}},
            "extractor.update='replaec'; expected one of residual, replace; ",
        ),
        (
            {"extractor": {"share_kv": 1}},
            "extractor.share_kv=1; expected true or false; correct the option",
        ),
        (
            {"extractor": {"dim": "512"}},
            "extractor.dim='512'; expected a whole number from 1; correct the option",
        ),
        ({"extractor": {"heads": 3}}, "dim 512 with heads 3; expected dim a multiple of heads; "),
        ({"loss": {"name": "weighted-bce"}}, "loss 'weighted-bce' without positive_rate; "),
    ],
)
def test_bad_options_are_refused(options: dict, says: str) -> None:
    backbone = build("dlfl").model.backbone
    with pytest.raises(LabelwiseError) as error:
        create_method("dlfl", LabelSet(NAMES), backbone, **options)
    assert says in str(error.value)
