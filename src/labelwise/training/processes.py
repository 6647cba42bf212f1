"""Training in several processes, as torchrun starts them."""

from __future__ import annotations

import os
from collections.abc import Iterator
from contextlib import contextmanager
from typing import Any

import torch
from accelerate import Accelerator, DistributedDataParallelKwargs
from accelerate.state import AcceleratorState
from timm.layers import convert_sync_batchnorm
from torch.nn.parallel import DistributedDataParallel

from labelwise.composition import Method
from labelwise.errors import LabelwiseError
from labelwise.runs.config import Config
from labelwise.training.peers import watched_peers


def make_accelerator(config: Config) -> Accelerator:
    """Device, precision and processes of a training.

    Raises:
        LabelwiseError: a setting that needs a GPU, without one.
    """
    # Runs of different precision may follow each other in one process; accelerate would keep the first one's.
    AcceleratorState._reset_state()
    accelerator = Accelerator(
        cpu=not torch.accelerator.is_available(),  # else accelerate does not see the other processes
        mixed_precision={"fp32": "no"}.get(config.precision, config.precision),
        kwargs_handlers=[DistributedDataParallelKwargs()],
    )
    gpu_settings = {
        "tf32 = true": (config.tf32, "leave it out"),
        "backbone.statistics = synchronised": (
            config.backbone.statistics == "synchronised",
            "set backbone.statistics=batch",
        ),
    }
    for setting, (is_set, todo) in gpu_settings.items():
        if is_set and accelerator.device.type != "cuda":
            raise LabelwiseError(f"{setting} on {accelerator.device.type}", "a CUDA device", todo)
    return accelerator


def synchronise(method: Method) -> None:
    """Convert each batch norm of the model to statistics over all processes; evaluation is unchanged.

    timm's own batch norms with a fused activation keep it.
    """
    method.model = convert_sync_batchnorm(method.model)


@contextmanager
def matrix_products(tf32: bool) -> Iterator[None]:
    """Inside the block, compute float32 matrix products on CUDA in TF32 if `tf32`; else keep the current setting."""
    previous = torch.backends.cuda.matmul.allow_tf32
    torch.backends.cuda.matmul.allow_tf32 = tf32 or previous
    try:
        yield
    finally:
        torch.backends.cuda.matmul.allow_tf32 = previous


def wrapped(accelerator: Accelerator, method: Method, unused: bool = False) -> Any:
    """The method to call in a step; with several processes it is wrapped by DDP, which averages gradients.

    Buffers of terms and strategies are not broadcast in every step: each is written from the gathered batch, so it is
    the same in all processes, and `[N, L]` tables are large.

    Args:
        accelerator: of the training.
        method: the method to train.
        unused: whether some trainable parameters get no gradient, as while the backbone is held; finding them costs a
            walk through the graph of each step.
    """
    names = [name for name, _ in method.named_buffers() if not name.startswith("model.")]
    DistributedDataParallel._set_params_and_buffers_to_ignore_for_model(method, names)
    accelerator.ddp_handler.find_unused_parameters = unused
    return accelerator.prepare(method)


def rewrapped(accelerator: Accelerator, stepper: Any, unused: bool) -> Any:
    """The result of `wrapped`, wrapped again if `unused` has changed.

    Args:
        accelerator: of the training.
        stepper: the result of `wrapped`; it must not be used any more if another one is returned.
        unused: as in `wrapped`.
    """
    if getattr(stepper, "find_unused_parameters", unused) == unused:
        return stepper
    method = accelerator.unwrap_model(stepper, keep_fp32_wrapper=False)
    return wrapped(accelerator, method, unused)


def is_first() -> bool:
    """Whether this process has rank 0 among those of a launcher."""
    return os.environ.get("RANK", "0") == "0"


@contextmanager
def joined_processes() -> Iterator[bool]:
    """Join the processes that a launcher started; yields whether this one has rank 0."""
    if int(os.environ.get("WORLD_SIZE", "1")) == 1:
        yield True
        return
    torch.distributed.init_process_group("nccl" if torch.cuda.is_available() else "gloo")
    if torch.cuda.is_available():
        torch.cuda.set_device(int(os.environ.get("LOCAL_RANK", "0")))
    try:
        with watched_peers():
            yield torch.distributed.get_rank() == 0
    finally:
        torch.distributed.destroy_process_group()
