"""timm models as backbones: images -> feature map."""

from __future__ import annotations

from typing import Any, Literal, Protocol

import timm
import torch
from jaxtyping import Float
from timm.data import resolve_model_data_config
from torch import Tensor, nn

from labelwise.backbones.description import native_size
from labelwise.backbones.freezing import freeze_groups, freeze_unused
from labelwise.backbones.weights import load_weights
from labelwise.errors import LabelwiseError, first_line
from labelwise.numerics import exporting

Layout = Literal["NCHW", "NHWC", "tokens"]


class MapEngine(Protocol):
    """An engine that computes a fixed backbone in place of PyTorch; uint8 images -> maps `[B, C, h, w]` float32.

    `name` includes its version.
    """

    name: str

    def takes(self, images: Tensor) -> bool:
        """Whether it can compute these images."""
        ...

    def __call__(self, images: Tensor) -> Tensor:
        """The maps of a batch."""
        ...


class TimmBackbone(nn.Module):
    """A timm model without its classifier; returns its last map as `[B, C, h, w]`.

    Images are normalised on the device by the mean and standard deviation of the weights. Tokens of a transformer are
    reshaped to their grid; class and register tokens are dropped.

    Args:
        name: timm model name.
        weights: `hub` (timm's pretrained weights), `none`, `package:NAME` or a file.
        image_size: expected side of images in pixels; other sizes work if the architecture allows them.
        freeze: no gradients, and normalisation layers stay in evaluation mode.
        fixed_statistics: batch norm uses its running statistics while its weights learn; suits pretrained weights and
            small batches.
        drop_path: stochastic depth rate in [0, 1); 0 keeps the model's default.
        frozen_groups: number of frozen groups of layers, counted from the input: the stem, then stages or blocks as
            timm groups them, but never the last. Frozen groups at the start cost no backward pass.
        unfrozen_groups: if above 0, number of these groups that learn, counted from the last; the others are frozen.
        gradient_checkpointing: recompute activations in the backward pass, by timm's implementation for this network;
            gradients are the same.
        stage: index of the stage that returns the map, in timm's count; later stages are removed. Earlier stages have
            finer maps. -1 uses the whole network.

    A network whose `forward_features` gives no grid, such as a class token alone, gives its last intermediate map.

    Raises:
        LabelwiseError: an unknown model, unavailable weights, an image size that the network does not accept, an
            architecture without a spatial map, too few groups for `unfrozen_groups`, or checkpointing that the network
            lacks or that batch statistics do not allow.

    >>> TimmBackbone("resnet10t", weights="none").out_channels
    512
    """

    def __init__(
        self,
        name: str,
        weights: str = "hub",
        image_size: int = 224,
        freeze: bool = False,
        drop_path: float = 0.0,
        stage: int = -1,
        fixed_statistics: bool = False,
        frozen_groups: int = 0,
        unfrozen_groups: int = 0,
        gradient_checkpointing: bool = False,
    ) -> None:
        super().__init__()
        self.name, self.frozen, self.stage = name, freeze, stage
        self.fixed_statistics, self.held = fixed_statistics, False
        self.engine: MapEngine | None = None
        self.net: Any = _create(name, weights == "hub", image_size, drop_path)
        if weights not in ("hub", "none"):
            load_weights(self.net, weights)
        config = resolve_model_data_config(self.net)
        self.mean: Tensor
        self.std: Tensor
        self.register_buffer("mean", torch.tensor(config["mean"]).view(1, 3, 1, 1), persistent=False)
        self.register_buffer("std", torch.tensor(config["std"]).view(1, 3, 1, 1), persistent=False)
        net: Any = self.net
        self.out_channels: int = net.num_features if stage < 0 else _cut(net, name, stage)
        self._prefix, self._last_map = int(getattr(self.net, "num_prefix_tokens", 0)), False
        self._layout, self.stride = self._probe(image_size)
        # Channels last is faster for convolutions on CPUs and GPUs; it makes no difference for transformers.
        self.set_format(torch.channels_last)
        if frozen_groups or unfrozen_groups:
            freeze_groups(self.net, name, frozen_groups, unfrozen_groups)
        self.checkpointing = gradient_checkpointing
        if gradient_checkpointing:
            self._refuse_checkpointing()
        if freeze:
            self.requires_grad_(False)
            self.eval()

    def set_format(self, memory_format: torch.memory_format) -> None:
        """Keep the weights, and compute, in a memory format."""
        self.memory_format = memory_format
        self.net.to(memory_format=memory_format)

    def normalise(self, images: Tensor) -> Float[Tensor, "B 3 H W"]:
        """Normalise uint8 images, or floats in [0, 1], as in the training of the weights."""
        if not images.is_floating_point():
            images = images.to(self.mean.dtype) / 255
        x = (images - self.mean) / self.std
        # An exported graph leaves the memory format to its runtime.
        return x if exporting() else x.contiguous(memory_format=self.memory_format)

    def forward(self, images: Tensor) -> Float[Tensor, "B C h w"]:
        """Feature map of `[B, 3, H, W]` uint8 images or floats in [0, 1]; by `engine` if it accepts them."""
        learns = torch.is_grad_enabled() and not self._no_grad
        if self.engine is not None and not learns and self.engine.takes(images):
            return self.engine(images)
        with torch.set_grad_enabled(learns):
            size = images.shape[-2:]
            x = self._features(self.normalise(images))
            if self._layout == "NCHW":
                return x
            if self._layout == "NHWC":
                return x.permute(0, 3, 1, 2)
            h, w = size[0] // self.stride, size[1] // self.stride
            return x[:, self._prefix :].transpose(1, 2).unflatten(2, (h, w))

    @property
    def _no_grad(self) -> bool:
        return self.frozen or self.held

    def hold(self, held: bool) -> None:
        """Freeze or unfreeze temporarily, while the head learns; takes effect with the next `train()`."""
        self.held = held

    def train(self, mode: bool = True) -> TimmBackbone:
        """Set training mode, unless the backbone is frozen or held; fixed statistics stay fixed."""
        super().train(mode and not self._no_grad)
        if self.training:
            self.engine = None  # it holds the present weights
        for module in self.modules():
            if isinstance(module, nn.modules.batchnorm._BatchNorm):
                module.train(module.training and self._uses_batch(module))
        if self.checkpointing:  # only in training, else an export would include it in the graph
            self.net.set_grad_checkpointing(self.net.training)
        return self

    def _uses_batch(self, norm: nn.modules.batchnorm._BatchNorm) -> bool:
        """Whether a batch norm uses the statistics of each batch in training."""
        return not self.fixed_statistics and (norm.weight is None or norm.weight.requires_grad)

    def _refuse_checkpointing(self) -> None:
        norms = [m for m in self.net.modules() if isinstance(m, nn.modules.batchnorm._BatchNorm)]
        if any(self._uses_batch(norm) for norm in norms):
            raise LabelwiseError(
                f"gradient checkpointing of {self.name!r} with batch norms on batch statistics",
                "fixed statistics, since a recomputed batch would count twice",
                "set backbone.statistics=fixed over pretrained weights, or leave backbone.gradient_checkpointing out",
            )
        try:
            self.net.set_grad_checkpointing(True)
        except (AssertionError, AttributeError):
            raise LabelwiseError(
                f"gradient checkpointing of {self.name!r}",
                "a network for which timm implements it",
                "choose another backbone, or leave backbone.gradient_checkpointing out",
            ) from None

    def _features(self, x: Tensor) -> Any:
        if self.stage < 0 and not self._last_map:
            return self.net.forward_features(x)
        which = 1 if self.stage < 0 else [self.stage]  # timm's count of the last ones, or their indices
        return self.net.forward_intermediates(
            x, indices=which, stop_early=self.stage >= 0, intermediates_only=True, output_fmt="NCHW"
        )[-1]

    def _probe(self, size: int) -> tuple[Layout, int]:
        x = self._blank(size)
        layout, places = _layout(x, self.out_channels, self._prefix)
        if self.stage < 0 and (layout is None or (layout == "tokens" and places == 1)):
            self._last_map = hasattr(self.net, "forward_intermediates")
            last = self._blank(size) if self._last_map else None
            if isinstance(last, Tensor) and last.ndim == 4 and last.shape[2] > places:
                x, layout, places, self.out_channels = last, "NCHW", last.shape[2], last.shape[1]
            else:
                self._last_map = False
        if layout is None:
            raise LabelwiseError(
                f"backbone {self.name!r} with features of shape {_shape(x)}",
                "a spatial map or a square grid of tokens",
                "choose another timm model",
            )
        freeze_unused(self.net, x)
        return layout, size // places

    def _blank(self, size: int) -> Any:
        """Features of one blank image; their graph is needed to find unused parameters, activations are not kept."""
        was = self.net.training
        self.net.eval()
        try:
            with torch.enable_grad(), torch.autograd.graph.saved_tensors_hooks(lambda t: None, lambda t: t):
                return self._features(torch.zeros(1, 3, size, size))
        except Exception as error:  # networks refuse a size by nearly any exception
            native = native_size(self.name)
            raise LabelwiseError(
                f"backbone {self.name!r} with images of {size} px ({first_line(error)})",
                f"a size that the network accepts, such as its own {native} px"
                if native != size
                else "a network from images to features",
                "give another image size" if native != size else "choose another timm model",
            ) from error
        finally:
            self.net.train(was)


def _layout(x: Any, channels: int, prefix: int) -> tuple[Layout | None, int]:
    """The layout of features and their number of rows; `None` if they are no grid."""
    if not isinstance(x, Tensor):
        return None, 0
    if x.ndim == 4 and x.shape[1] == channels:
        return "NCHW", x.shape[2]
    if x.ndim == 4 and x.shape[3] == channels:
        return "NHWC", x.shape[1]
    side = round(max(0, x.shape[1] - prefix) ** 0.5) if x.ndim == 3 else 0
    return ("tokens", side) if side and side * side == x.shape[1] - prefix else (None, 0)


def _shape(x: Any) -> Any:
    return list(x.shape) if isinstance(x, Tensor) else [_shape(part) for part in x]


def _cut(net: Any, name: str, stage: int) -> int:
    """Remove everything after a stage; returns the stage's number of channels."""
    stages = getattr(net, "feature_info", [])
    if stage >= len(stages):
        raise LabelwiseError(
            f"stage {stage} of {name!r}",
            f"a stage from 0 to {len(stages) - 1}, or -1",
            "correct backbone.stage",
        )
    if not hasattr(net, "prune_intermediate_layers"):
        raise LabelwiseError(
            f"stage {stage} of {name!r}", "a network whose stages timm separates", "leave backbone.stage out"
        )
    net.prune_intermediate_layers([stage], prune_norm=True, prune_head=True)
    return int(stages[stage]["num_chs"])


def _create(name: str, pretrained: bool, image_size: int, drop_path: float) -> nn.Module:
    base = name.split(".")[0]
    if not timm.is_model(base):
        near = ", ".join(timm.list_models(f"*{base.split('_')[0][:8]}*")[:4]) or "see timm.list_models()"
        raise LabelwiseError(f"backbone {name!r}", f"a timm model name (near: {near})", "correct --backbone")
    options: dict[str, Any] = {"num_classes": 0}
    if drop_path > 0:
        options["drop_path_rate"] = drop_path
    # Transformers need the image size or a dynamic size; convolutional networks accept neither keyword.
    tries: tuple[dict[str, Any], ...] = (
        {"img_size": image_size, "dynamic_img_size": True},
        {"img_size": image_size, "strict_img_size": False},
        {"img_size": image_size},
        {},
    )
    for extra in tries:
        try:
            return timm.create_model(name, pretrained=pretrained, **{**options, **extra})
        except TypeError:
            if not extra:
                raise
        except Exception as error:  # network, hub and cache raise different types
            if not pretrained:
                raise
            raise LabelwiseError(
                f"pretrained weights of {name!r} could not be fetched ({first_line(error)})",
                "a reachable model hub or local weights",
                "use --weights package:NAME, --weights FILE or --weights none",
            ) from error
    raise AssertionError("unreachable")
