"""python everything.py OUT [RUN]: every method and every family of backbones as graphs, or a finished run.

A process of its own, for models are traced through their bytecode, and the type checker of the tests stands in the way.
"""

from __future__ import annotations

import json
import shutil
import sys
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import numpy as np
import torch
from timm.models import register_model
from timm.models.hiera import Hiera
from timm.models.swin_transformer import SwinTransformer
from timm.models.vision_transformer import VisionTransformer
from torch import Tensor, nn

from labelwise.data import read
from labelwise.errors import LabelwiseError
from labelwise.evaluation.tune import tune_run
from labelwise.export import export_run, graph
from labelwise.export.graph import FILES, program, write_graph
from labelwise.export.parity import BATCHES
from labelwise.methods import create_model
from labelwise.model import LabelModel
from labelwise.registry import list_methods
from labelwise.runs import Run
from labelwise.types import Output
from onnx_operators import share_operators

NAMES, SIDE = tuple("abcdefg"), 64
FAMILIES = ("test_efficientnet", "tiny_export_vit", "tiny_export_swin", "tiny_export_hiera")
HEADS = {"c-tran": {"layers": 1}, "query2label": {"layers": 1}}
"""Fewer layers than the methods have, for these are written alike."""
REGIONS = ("add-gcn", "csra", "dafl", "query2label", "sst")
"""Methods whose labels may look at a region alone, one of each extractor that takes regions."""
WHERE = {"outside": 0.01, "labels": {"a": [0, 0.5], "b": [0.3, 0.9, 0.5, 1]}}


MEANT_FOR_TIMM = ("pretrained", "pretrained_cfg", "pretrained_cfg_overlay", "cache_dir")


@register_model
def tiny_export_swin(**options: Any) -> SwinTransformer:
    """A shifted-window transformer small enough for a test; its map has channels last."""
    small = {"patch_size": 4, "window_size": 4, "embed_dim": 8, "depths": (1, 2), "num_heads": (1, 2)}
    return SwinTransformer(**small, **{k: v for k, v in options.items() if k not in MEANT_FOR_TIMM})


@register_model
def tiny_export_vit(**options: Any) -> VisionTransformer:
    """timm's `test_vit` with two blocks instead of six equal ones."""
    small = {"patch_size": 16, "embed_dim": 64, "depth": 2, "num_heads": 2, "mlp_ratio": 3}
    given = {k: v for k, v in options.items() if k not in MEANT_FOR_TIMM}
    return VisionTransformer(**small, dynamic_img_size=True, **given)


@register_model
def tiny_export_hiera(**options: Any) -> Hiera:
    """A hierarchical transformer of two blocks; it attends over five dimensions."""
    if "img_size" not in options or "dynamic_img_size" in options:
        raise TypeError("one size")
    given = {k: v for k, v in options.items() if k not in (*MEANT_FOR_TIMM, "strict_img_size")}
    given["img_size"] = (SIDE, SIDE)
    return Hiera(**given, embed_dim=8, num_heads=1, stages=(1, 1), q_pool=1, mask_unit_size=(2, 2))


class Patches(nn.Module):
    """The smallest backbone: one convolution."""

    out_channels, stride = 12, 16

    def __init__(self) -> None:
        super().__init__()
        self.net = nn.Conv2d(3, self.out_channels, self.stride, self.stride)

    def forward(self, images: Tensor) -> Tensor:
        """The map of uint8 images."""
        return self.net(images.float() / 255)


def every_model() -> dict[str, LabelModel]:
    """Each method on the smallest backbone, then one method on each family; weights differ from their start."""
    torch.manual_seed(0)
    models = {
        name: create_model(
            name,
            Patches(),
            NAMES,
            extractor=HEADS.get(name, {}),
            regions=WHERE if name in REGIONS else {},
        )
        for name in list_methods()
    }
    for family in FAMILIES:
        models[family] = create_model("csra", family, NAMES, image_size=SIDE)
    with torch.no_grad():
        for model in models.values():
            for key, p in model.named_parameters():
                if len(NAMES) in p.shape and not key.startswith("backbone."):
                    p.normal_()
    return {name: model.eval() for name, model in models.items()}


def pictures(count: int, seed: int = 0) -> Tensor:
    """Random uint8 images."""
    generator = torch.Generator().manual_seed(seed)
    return torch.randint(0, 256, (count, 3, SIDE, SIDE), generator=generator, dtype=torch.uint8)


class Together(nn.Module):
    """Models over the same images, whose labels follow one another: much of an export is for a graph, not a node."""

    def __init__(self, models: Sequence[LabelModel]) -> None:
        super().__init__()
        self.models = nn.ModuleList(models)

    def forward(self, images: Tensor, want_maps: bool = False) -> Output:
        """The logits and maps of all models."""
        answers = [model(images, want_maps=want_maps) for model in self.models]
        logits = torch.cat([answer.logits for answer in answers], 1)
        maps = torch.cat([answer.maps for answer in answers], 1) if want_maps else None
        return Output(logits, logits[..., None], maps, logits[..., None])


def write(model: nn.Module, folder: Path) -> None:
    """The graphs of a model in each format, with its outputs for batches of each size."""
    folder.mkdir()
    exported = program(model, (SIDE, SIDE), maps=True)
    for kind in FILES:
        write_graph(exported, kind, folder)
    write_answers(model, folder)


def write_answers(model: nn.Module, folder: Path) -> None:
    """The outputs of a model for batches of each size."""
    for n in BATCHES:
        with torch.no_grad():
            output = model(pictures(n, seed=n), want_maps=True)
        np.savez(folder / f"{n}.npz", logits=output.logits, maps=output.maps)


def _save_once() -> None:
    """Copies an ONNX file that was already written, since the OpenVINO export goes through ONNX too."""
    honest = graph.save_onnx
    last: list[tuple[Any, Path]] = []

    def save(exported: Any, file: Path, input_name: str, output_names: Sequence[str]) -> None:
        if last and last[0][0] is exported:
            shutil.copy(last[0][1], file)
            return
        honest(exported, file, input_name, output_names)
        last[:] = [(exported, file)]

    graph.save_onnx = save


def parts(model: LabelModel) -> str:
    """The structure of a model: its modules with their plain settings, and the shapes of its weights."""
    plain = (bool, int, float, str, tuple, type(None))
    modules = [
        (name, type(m), {k: v for k, v in vars(m).items() if isinstance(v, plain)})
        for name, m in model.named_modules()
    ]
    return str((modules, [(name, p.shape, p.dtype) for name, p in model.state_dict().items()]))


def write_models(out: Path) -> None:
    """Writes the methods as one graph and each family as its own; `places.json` has the folder and labels of each.

    Methods that train the same network have the same place, with the weights of the first.
    """
    _save_once()
    models, first, places = every_model(), dict[str, int](), {}
    methods: list[LabelModel] = []
    for name in list_methods():
        place = first.setdefault(parts(models[name]), len(methods))
        if place == len(methods):
            methods.append(models[name])
        places[name] = "methods", place * len(NAMES)
    for name in FAMILIES:
        places[name] = name, 0
    (out / "places.json").write_text(json.dumps(places))
    for name, model in {"methods": Together(methods), **{name: models[name] for name in FAMILIES}}.items():
        try:
            write(model, out / name)
        except LabelwiseError as error:
            (out / name / "error.txt").write_text(str(error))


def write_run(out: Path, run: Path) -> None:
    """Exports a finished run, and the run tuned with other views."""
    export_run(run, out / "run-onnx", "onnx", images=10, tagger=True)
    export_run(run, out / "run-torch", "torch", images=4, maps=False)
    for word in ("flip", "multi-scale"):
        changed = Path(shutil.copytree(run, out / f"tuned-{word}"))
        tune_run(changed, read(Run.open(run).config.data.source), test_time=word)
        export_run(changed, out / f"run-{word}", "onnx", images=4, tagger=word == "flip")


def main(out: Path, *run: Path) -> None:
    """Writes one of the two."""
    torch.set_num_threads(1)
    share_operators()
    if run:
        write_run(out, *run)
    else:
        write_models(out)


if __name__ == "__main__":
    main(*map(Path, sys.argv[1:]))
