"""The layout that timm and transformers load: a network of timm whose own classifier answers as the run does."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path
from typing import Any

import timm
import torch
from safetensors.torch import save_file
from torch import Tensor, nn

from labelwise.engines.runtimes import Answer
from labelwise.errors import LabelwiseError, first_line
from labelwise.export.engines import Eager
from labelwise.export.parity import batches_of, compare
from labelwise.runs.files import write_json
from labelwise.runs.run import WEIGHTS, Run

_ADVICE = "export without --transformers"


def write_timm(run: Run, folder: Path, photos: Sequence[tuple[str, Tensor]]) -> None:
    """Writes `config.json` and `model.safetensors` to a folder and compares the network with the run.

    The calibration is part of the classifier, so that the sigmoid of an output is the calibrated probability.
    Thresholds are in `config.json`, by label; neither timm nor transformers applies them.

    Args:
        run: a finished run.
        folder: the folder to create.
        photos: named uint8 images `[3, H, W]` of the run's size to compare on.

    Raises:
        LabelwiseError: a head that is not linear, a network whose classifier is not one linear layer on the mean of the
            map, decisions that thresholds alone cannot express, or different outputs.
    """
    decisions = run.decisions()
    if decisions.top_k or decisions.rules or decisions.never or run.config.test_time != "none":
        raise LabelwiseError(
            "labels with rules or a limit on their number, labels not learned, or views at test time",
            "thresholds alone, and one view",
            _ADVICE,
        )
    eager = Eager(run.model(), "cpu")
    weight, bias = linear_head(eager.model)
    scale, shift = (torch.from_numpy(values).float() for values in (decisions.scale, decisions.bias))
    net = _network(eager.model.backbone, weight * scale[:, None], bias * scale + shift)
    compare(
        eager,
        _Network(net, eager.model.backbone, scale, shift),
        batches_of(photos),
        decisions,
        run.labels.names,
    )
    folder.mkdir(parents=True)
    state = {key: value.contiguous() for key, value in net.state_dict().items()}
    save_file(state, folder / WEIGHTS, {"format": "pt"})
    write_json(folder / "config.json", _config(run, eager.model.backbone))


def linear_head(model: Any) -> tuple[Tensor, Tensor]:
    """Weights `[L, C]` and biases `[L]` of a head that is linear in the mean of the map over its places.

    They are the answers to a map of zeros and to those of one channel; other maps must have the answers that follow.

    Raises:
        LabelwiseError: a head that is not linear.
    """
    channels = model.backbone.out_channels
    generator = torch.Generator().manual_seed(0)
    maps = (
        torch.rand(8, channels, 3, 3, generator=generator)
        * torch.tensor([0.1, 1.0]).repeat(4)[:, None, None, None]
    )
    with torch.no_grad():
        bias = model(torch.zeros(1, channels, 1, 1), is_map=True).logits[0]
        weight = (model(torch.eye(channels)[:, :, None, None], is_map=True).logits - bias).T
        expected = model(maps, is_map=True).logits
    if not torch.allclose(maps.mean((2, 3)) @ weight.T + bias, expected, atol=1e-3, rtol=1e-3):
        raise LabelwiseError(
            "a head that is not linear in the mean of the map",
            "one linear layer, all that a classifier of timm and transformers is",
            "train with --method baseline-gap --set extractor.normalise=batch, or " + _ADVICE,
        )
    return weight, bias


def _network(backbone: Any, weight: Tensor, bias: Tensor) -> nn.Module:
    """timm's network with the backbone's weights and this classifier."""
    expected = "a network that ends in pooling and one linear layer, such as efficientnet, resnet or regnet"
    try:
        net: Any = timm.create_model(backbone.name, pretrained=False, num_classes=len(bias))
        classifier = net.get_classifier()
        prefixes = {f"{name}." for name, module in net.named_modules() if module is classifier}
        missing, unknown = net.load_state_dict(backbone.net.state_dict(), strict=False)
        absent = [key for key in missing if not key.startswith(tuple(prefixes))]
        if (
            unknown
            or absent
            or not isinstance(classifier, nn.Linear)
            or classifier.weight.shape != weight.shape
        ):
            raise ValueError("other layers than the run's backbone")
        classifier.weight.data.copy_(weight)
        classifier.bias.data.copy_(bias)
    except (RuntimeError, ValueError, AttributeError, TypeError) as error:
        given = f"{backbone.name}, which timm builds with a classifier otherwise ({first_line(error)})"
        raise LabelwiseError(given, expected, _ADVICE) from None
    return net.eval()


class _Network:
    """timm's network as an engine, with its logits before the calibration."""

    has_maps = False

    def __init__(self, net: nn.Module, backbone: Any, scale: Tensor, shift: Tensor) -> None:
        self.name = f"the network of timm {timm.__version__}"
        self._net, self._backbone, self._scale, self._shift = net, backbone, scale, shift

    @torch.inference_mode()
    def __call__(self, images: Tensor, want_maps: bool = False) -> Answer:
        """Logits of a batch."""
        calibrated = self._net(self._backbone.normalise(images))
        return ((calibrated - self._shift) / self._scale).numpy(), None


def _config(run: Run, backbone: Any) -> dict[str, Any]:
    """timm's settings of a network, which transformers reads as those of `timm_wrapper`."""
    transform, names, decisions = run.config.transform(), run.labels.names, run.decisions()
    height, width = transform.size
    return {
        "architecture": backbone.name,
        "num_classes": len(names),
        "num_features": backbone.out_channels,
        "label_names": list(names),
        "pretrained_cfg": {
            "input_size": [3, height, width],
            "fixed_input_size": False,
            "interpolation": "bicubic",
            "crop_pct": 1.0,
            "crop_mode": "squash" if transform.resize == "squash" else "center",
            "mean": backbone.mean.flatten().tolist(),
            "std": backbone.std.flatten().tolist(),
        },
        "model_type": "timm_wrapper",
        "architectures": ["TimmWrapperForImageClassification"],
        "problem_type": "multi_label_classification",
        "thresholds": dict(zip(names, map(float, decisions.thresholds), strict=True)),
    }
