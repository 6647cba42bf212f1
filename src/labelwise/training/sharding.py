"""Weights, gradients, optimiser moments and averaged weights sharded over the processes (FSDP2)."""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from copy import deepcopy
from typing import Any

import torch
from accelerate import Accelerator
from accelerate.optimizer import AcceleratedOptimizer
from jaxtyping import Float
from timm.utils import ModelEmaV3
from torch import Tensor, nn
from torch import distributed as dist
from torch.distributed.device_mesh import init_device_mesh
from torch.distributed.fsdp import fully_shard
from torch.distributed.tensor import DTensor, distribute_tensor
from torch.optim import Optimizer

from labelwise.composition import Method
from labelwise.errors import LabelwiseError
from labelwise.model import LabelModel
from labelwise.runs.config import Config
from labelwise.training.optim import load_optimizer


class Shares:
    """Shards a method and its averaged weights in place, and returns whole tensors for evaluation and saving.

    Each block of the backbone is gathered only for its own forward and backward pass, the rest for the whole step.
    Torch's `fully_shard` is called directly: Accelerate's plugin for it does nothing if processes have no GPU.

    Args:
        method: the method to train.
        ema: its averaged weights, or `None`.
        config: settings of the run.
        accelerator: device and processes.

    Raises:
        LabelwiseError: a setting or a method that does not support sharding.
    """

    def __init__(
        self, method: Method, ema: ModelEmaV3 | None, config: Config, accelerator: Accelerator
    ) -> None:
        _refuse_untested(config, method)
        self._plain = deepcopy(method.model)
        mesh = init_device_mesh(accelerator.device.type, (accelerator.num_processes,))
        for root in (method, *(() if ema is None else (ema.module,))):
            model: Any = root if root is not method else method.model
            with torch.no_grad():
                for p in root.parameters():
                    p.data = p.data.contiguous()  # kernels are channels last, which cannot be sharded
                    dist.broadcast(p.data, 0)
            for block in _blocks(model.backbone):
                fully_shard(block, mesh=mesh)
            fully_shard(root, mesh=mesh)
        self._norms = [m for m in method.model.modules() if isinstance(m, nn.modules.batchnorm._BatchNorm)]
        method.register_forward_pre_hook(lambda *_: self._same_statistics())

    def whole(self, model: nn.Module) -> LabelModel:
        """An unsharded model with the weights of a sharded one; all processes must call this.

        Args:
            model: the method's model, or its averaged weights.
        """
        self._plain.load_state_dict(_whole(model.state_dict()))
        return self._plain.eval()

    def _same_statistics(self) -> None:
        """Copy the first process's batch statistics to all, as DDP does before each step."""
        for norm in self._norms:
            for buffer in norm.buffers(recurse=False) if norm.training else ():
                dist.broadcast(buffer, 0)


class WholePart:
    """A sharded part of the state that is saved and loaded as whole tensors; all processes must call its methods.

    Args:
        part: a sharded module, or its optimiser.
    """

    def __init__(self, part: Any) -> None:
        self._part = part

    def state_dict(self) -> Mapping[str, Any]:
        """The state with whole tensors."""
        return _whole(self._part.state_dict())

    def load_state_dict(self, state: Mapping[str, Any]) -> None:
        """Load this process's share of whole tensors."""
        if not isinstance(self._part, Optimizer | AcceleratedOptimizer):
            like = self._part.state_dict()
            self._part.load_state_dict({k: _shard(v, like[k]) if k in like else v for k, v in state.items()})
            return
        parameters = [p for group in self._part.param_groups for p in group["params"]]
        moments = {
            i: {k: _shard(v, parameters[i]) for k, v in values.items()}
            for i, values in state["state"].items()
        }
        load_optimizer(self._part, {**state, "state": moments})


def local(value: Tensor) -> Tensor:
    """This process's share of a sharded tensor; a plain tensor unchanged."""
    return value.to_local() if isinstance(value, DTensor) else value


def norms_of(gradients: Sequence[Tensor]) -> Float[Tensor, " P"]:
    """The norm of each gradient, over all of its shares."""
    if not gradients:
        return torch.zeros(0)
    norms = torch.stack(torch._foreach_norm([local(g) for g in gradients]))
    if not isinstance(gradients[0], DTensor):
        return norms
    squares = norms.square()
    dist.all_reduce(squares)
    return squares.sqrt()


def finite_of(values: Sequence[Tensor]) -> list[bool]:
    """Whether each tensor is finite, in all of its shares."""
    finite = torch.stack([local(value).isfinite().all() for value in values]).to(torch.int32)
    if any(isinstance(value, DTensor) for value in values):
        dist.all_reduce(finite, dist.ReduceOp.MIN)
    return [bool(flag) for flag in finite.tolist()]


def _blocks(backbone: nn.Module) -> Iterator[nn.Module]:
    """The blocks or stages in a network's module lists; single layers are sharded with the root."""
    for child in getattr(backbone, "net", backbone).children():
        if isinstance(child, nn.Sequential | nn.ModuleList):
            for block in child:
                if next(block.children(), None) is not None and next(block.parameters(), None) is not None:
                    yield block


def _whole(state: Any) -> Any:
    """A nested state with whole tensors, on the CPU, in place of sharded ones."""
    if isinstance(state, DTensor):
        return state.full_tensor().cpu()
    if isinstance(state, Mapping):
        return {k: _whole(v) for k, v in state.items()}
    return state


def _shard(value: Any, like: Tensor) -> Any:
    """A whole tensor sharded as another one; other values unchanged."""
    if not isinstance(like, DTensor) or not isinstance(value, Tensor) or value.shape != like.shape:
        return value
    return distribute_tensor(value.to(like.device), like.device_mesh, like.placements)


def _refuse_untested(config: Config, method: Method) -> None:
    """Refuse settings that have not been tested against a single process."""
    untested = {
        "compile = true": config.compile,
        f"precision = {config.precision}": config.precision == "fp16",
        "optim.fused = true": config.optim.fused is True,
        "backbone.freeze = true": config.backbone.freeze,
        "backbone.statistics = synchronised": config.backbone.statistics == "synchronised",
        "backbone.gradient_checkpointing = true": config.backbone.gradient_checkpointing,
        **{f"the term {name}": name in method.terms for name in ("blending", "pseudo")},
    }
    for setting in (name for name, is_set in untested.items() if is_set):
        raise LabelwiseError(
            f"sharding = full with {setting}",
            "processes that each hold all weights",
            "leave one of the two out",
        )
