"""Programs in the forms that every runtime computes alike, and what cannot be expressed."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path

import onnxruntime
import pytest
import torch
from torch import Tensor, nn
from torch.nn import functional as F

from labelwise.backbones import TimmBackbone
from labelwise.engines.runtimes import openvino_core
from labelwise.errors import LabelwiseError
from labelwise.export.graph import exported_graph, graph_file, save_onnx, write_graph
from labelwise.export.plain import without_resampling


class Computes(nn.Module):
    """A function of images as a module."""

    def __init__(self, function: Callable[[Tensor], Tensor]) -> None:
        super().__init__()
        self.function = function

    def forward(self, images: Tensor) -> tuple[Tensor, ...]:
        """The function's value."""
        return (self.function(images),)


def targets(exported: torch.export.ExportedProgram) -> list[str]:
    return [str(node.target) for node in exported.graph.nodes if node.op == "call_function"]


FORMS: dict[str, Callable[[Tensor], Tensor]] = {
    "sum": lambda x: x.sum(-1),
    "mean": lambda x: x.mean(2),
    "amax": lambda x: x.amax(-1),
    "amin": lambda x: x.amin(2) * 2,
    "kept": lambda x: x.sum(-1, keepdim=True),
    "first": lambda x: x.mean(1),
    "wide": lambda x: x.unsqueeze(3).sum(-1),
    "cumulative": lambda x: x.flatten(1).sum(-1),
}
CHANGED = ("sum", "mean", "amax", "amin")


@pytest.mark.parametrize("name", FORMS)
def test_reductions_keep_their_values(name: str, seeded: torch.Generator) -> None:
    exported = exported_graph(Computes(FORMS[name]), torch.zeros(3, 4, 5), "images")
    assert any("unsqueeze" in target for target in targets(exported)) == (name in (*CHANGED, "wide"))
    if name in CHANGED:
        (reduction,) = (n for n in exported.graph.nodes if any(part in str(n.target) for part in CHANGED))
        assert list(reduction.args[1]) == [2, 3]
    for n in (1, 2, 7):
        x = torch.randn(n, 4, 5, generator=seeded)
        torch.testing.assert_close(exported.module()(x)[0], FORMS[name](x))


def test_a_split_into_one_part_is_left_out(seeded: torch.Generator) -> None:
    def parts(size: int) -> Callable[[Tensor], Tensor]:
        return lambda x: torch.cat([part + 1 for part in x.split(size, 1)], 1)

    x = torch.randn(5, 4, 2, generator=seeded)
    for size, split in ((4, False), (9, False), (3, True)):
        exported = exported_graph(Computes(parts(size)), torch.zeros(3, 4, 2), "images")
        assert any("split" in target for target in targets(exported)) == split
        torch.testing.assert_close(exported.module()(x)[0], x + 1)


FULL = {"INFERENCE_PRECISION_HINT": "f32"}
PADS: dict[str, Callable[[Tensor], Tensor]] = {
    "right and below": lambda x: F.pad(x, (0, 1, 0, 1)),
    "around": nn.ZeroPad2d((1, 2, 3, 0)),
    "with ones": lambda x: F.pad(x, (0, 1, 0, 1), value=1.0),
    "reflected": lambda x: F.pad(x, (0, 1, 0, 1), mode="reflect"),
}


@pytest.mark.parametrize("name", PADS)
def test_zeros_around_a_negative_map_are_pooled_by_every_runtime(
    name: str, seeded: torch.Generator, tmp_path: Path
) -> None:
    def pooled(x: Tensor) -> Tensor:
        return F.max_pool2d(PADS[name](-1 - x), 2, 1)

    exported = exported_graph(Computes(pooled), torch.zeros(3, 4, 5, 6), "images")
    zeros = name in ("right and below", "around")
    assert any("pad" in target for target in targets(exported)) != zeros
    save_onnx(exported, tmp_path / "pooled.onnx", "images", ["maps"])
    session = onnxruntime.InferenceSession(tmp_path / "pooled.onnx", providers=["CPUExecutionProvider"])
    compiled = openvino_core()[0].compile_model(tmp_path / "pooled.onnx", "CPU", FULL)
    for n in (1, 3):
        x = torch.rand(n, 4, 5, 6, generator=seeded)
        torch.testing.assert_close(exported.module()(x)[0], pooled(x))
        torch.testing.assert_close(torch.from_numpy(session.run(None, {"images": x.numpy()})[0]), pooled(x))
        torch.testing.assert_close(torch.from_numpy(compiled(x.numpy())[0]), pooled(x))


SCALED: dict[str, Callable[[Tensor], Tensor]] = {
    "by place": lambda x: x * (1 + torch.arange(49.0).view(7, 7)),
    "divided by row": lambda x: x / (1 + torch.arange(7.0).view(7, 1)),
    "pooled to a larger map": nn.AdaptiveAvgPool2d(7),
}


@pytest.mark.parametrize("name", SCALED)
@pytest.mark.parametrize("kernel", [7, 5])
def test_kernels_as_large_as_a_scaled_map(
    name: str, kernel: int, seeded: torch.Generator, tmp_path: Path
) -> None:
    weight = torch.randn(2, 3, kernel, kernel, generator=seeded)
    side = 3 if name.startswith("pooled") else 7

    class Convolves(nn.Module):
        def __init__(self) -> None:
            super().__init__()
            self.weight = nn.Parameter(weight)

        def forward(self, images: Tensor) -> tuple[Tensor, ...]:
            return (F.conv2d(SCALED[name](images), self.weight, padding=kernel // 2),)

    exported = exported_graph(Convolves(), torch.zeros(3, 3, side, side), "images")
    assert any("clamp" in target for target in targets(exported)) == (kernel == 7)
    write_graph(exported, "openvino", tmp_path)
    compiled = openvino_core()[0].compile_model(tmp_path / graph_file("openvino"), "CPU", FULL)
    for n in (1, 3):
        x = torch.randn(n, 3, side, side, generator=seeded)
        answer = torch.from_numpy(compiled(x.numpy())[0])
        torch.testing.assert_close(answer, Convolves()(x)[0].detach(), atol=1e-3, rtol=1e-4)


class Attends(nn.Module):
    """Attention as in timm: one operation, or its formula without `fused_attn`."""

    def __init__(self) -> None:
        super().__init__()
        self.fused_attn = True

    def forward(self, images: Tensor) -> tuple[Tensor, ...]:
        """The images attend to themselves."""
        if self.fused_attn:
            return (F.scaled_dot_product_attention(images, images, images),)
        return ((images @ images.mT / images.shape[-1] ** 0.5).softmax(-1) @ images,)


@pytest.mark.parametrize("shape", [(4, 5), (2, 4, 5), (2, 2, 4, 5)])
def test_attention_that_onnx_cannot_express_is_written_as_its_formula(
    shape: tuple[int, ...], seeded: torch.Generator
) -> None:
    exported = exported_graph(Attends(), torch.zeros(3, *shape), "images")
    assert any("scaled_dot_product" in target for target in targets(exported)) == (len(shape) == 3)
    x = torch.randn(2, *shape, generator=seeded)
    torch.testing.assert_close(exported.module()(x)[0], Attends()(x)[0])


def test_a_program_is_in_the_plain_memory_format() -> None:
    backbone = TimmBackbone("test_efficientnet", "none", 64).eval()
    exported = exported_graph(backbone, torch.zeros(3, 3, 64, 64, dtype=torch.uint8), "images")
    assert all(tensor.is_contiguous() for tensor in exported.state_dict.values())
    assert not any("memory_format" in node.kwargs for node in exported.graph.nodes)
    assert not any("contiguous" in target for target in targets(exported))
    kernel = next(p for p in backbone.parameters() if p.ndim == 4 and min(p.shape[1:]) > 1)
    assert kernel.is_contiguous(memory_format=torch.channels_last)


@pytest.mark.parametrize("kind", ["onnx", "openvino"])
def test_what_cannot_be_expressed_is_one_line_for_the_requested_format(kind: str, tmp_path: Path) -> None:
    wide = Computes(lambda x: F.scaled_dot_product_attention(x, x, x))
    exported = exported_graph(wide, torch.zeros(3, 2, 2, 4, 8), "images")
    with pytest.raises(LabelwiseError, match=f"which {kind} cannot express") as caught:
        write_graph(exported, kind, tmp_path)
    message = str(caught.value)
    assert "x1b" not in message
    assert "give --format torch" in message
    assert "step" not in message


class Positions(nn.Module):
    """Adds a resampled weight, which a second path uses too, and resamples the images as well if `both`."""

    def __init__(self, both: bool) -> None:
        super().__init__()
        self.both = both
        self.positions = nn.Parameter(torch.randn(1, 4, 4, 4, generator=torch.Generator().manual_seed(1)))

    def forward(self, images: Tensor) -> tuple[Tensor, ...]:
        """The sum, and the weight's mean times the sum."""
        grid = self.positions.float()
        grid = F.interpolate(grid, size=images.shape[2:], mode="bicubic", antialias=True).flatten(2)
        shown = (
            F.interpolate(images, scale_factor=2.0).flatten(2)[..., ::4] if self.both else images.flatten(2)
        )
        return shown + grid, (shown + grid) * grid.mean()


@pytest.mark.parametrize("both", [False, True])
def test_resampled_weights_are_constants(both: bool, seeded: torch.Generator) -> None:
    module = Positions(both).eval()
    exported = exported_graph(module, torch.zeros(3, 4, 6, 5), "images")
    assert sum("upsample" in target for target in targets(exported)) == both
    for n in (1, 2, 7):
        x = torch.randn(n, 4, 6, 5, generator=seeded)
        with torch.no_grad():
            expected = module(x)
        for ours, theirs in zip(exported.module()(x), expected, strict=True):
            torch.testing.assert_close(ours, theirs)


def test_a_program_without_resampling_is_left_as_it_is() -> None:
    exported = exported_graph(Computes(lambda x: x * 2), torch.zeros(3, 4), "images")
    assert without_resampling(exported) is None


def test_both_reasons_of_a_failed_trace_are_told() -> None:
    def control(x: Tensor) -> Tensor:
        return x * 2 if len(x) == 3 else x

    with pytest.raises(LabelwiseError) as error:
        exported_graph(Computes(control), torch.zeros(3, 4), "images")
    assert "; in strict mode: " in error.value.given
    assert "\n" not in str(error.value)
