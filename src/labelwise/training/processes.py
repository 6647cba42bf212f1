"""Several processes, as torchrun starts them."""

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

from labelwise.errors import LabelwiseError
from labelwise.methods import Method
from labelwise.training.config import Config
from labelwise.training.peers import watched_peers


def make_accelerator(config: Config) -> Accelerator:
    """Device, precision and processes of a training.

    Raises:
        LabelwiseError: settings of GPUs without one.
    """
    # Runs of different precision may follow each other in one process; accelerate would keep the first one's.
    AcceleratorState._reset_state()
    accelerator = Accelerator(
        cpu=not torch.accelerator.is_available(),  # or accelerate takes each of several processes for the only one
        mixed_precision={"fp32": "no"}.get(config.precision, config.precision),
        kwargs_handlers=[DistributedDataParallelKwargs()],
    )
    of_gpus = {
        "tf32 = true": (config.tf32, "leave it out"),
        "backbone.statistics = synchronised": (
            config.backbone.statistics == "synchronised",
            "set backbone.statistics=batch",
        ),
    }
    for setting, (on, todo) in of_gpus.items():
        if on and accelerator.device.type != "cuda":
            raise LabelwiseError(f"{setting} on {accelerator.device.type}", "a CUDA device", todo)
    return accelerator


def synchronise(method: Method) -> None:
    """Let each batch norm of the model take its statistics over all processes; in evaluation nothing changes.

    timm's own batch norms, which hold an activation, keep it.
    """
    method.model = convert_sync_batchnorm(method.model)


@contextmanager
def matrix_products(tf32: bool) -> Iterator[None]:
    """Matrix products of float32 on CUDA devices in TF32, or as they are set, inside of the block alone."""
    before = torch.backends.cuda.matmul.allow_tf32
    torch.backends.cuda.matmul.allow_tf32 = tf32 or before
    try:
        yield
    finally:
        torch.backends.cuda.matmul.allow_tf32 = before


def wrapped(accelerator: Accelerator, method: Method, unused: bool = False) -> Any:
    """The method as it is called in a step, which over several processes joins its gradients.

    The memories of terms and strategies are not sent with every step: each is written from the joined batch, so that
    all processes hold the same, and `[N, L]` tables are large.

    Args:
        accelerator: of the training.
        method: what is trained.
        unused: whether some parameters that learn have no gradient, as those of a backbone that rests; to look for
            them costs a walk through the graph of each step.
    """
    names = [name for name, _ in method.named_buffers() if not name.startswith("model.")]
    DistributedDataParallel._set_params_and_buffers_to_ignore_for_model(method, names)
    accelerator.ddp_handler.find_unused_parameters = unused
    return accelerator.prepare(method)


def rewrapped(accelerator: Accelerator, stepper: Any, unused: bool) -> Any:
    """What `wrapped` gave, made anew where parameters without gradient come or go.

    Args:
        accelerator: of the training.
        stepper: what `wrapped` gave; it joins no gradient any more where it is made anew.
        unused: as in `wrapped`.
    """
    if getattr(stepper, "find_unused_parameters", unused) == unused:
        return stepper
    method = accelerator.unwrap_model(stepper, keep_fp32_wrapper=False)
    return wrapped(accelerator, method, unused)


def is_first() -> bool:
    """Whether this process speaks for all that a launcher started."""
    return os.environ.get("RANK", "0") == "0"


@contextmanager
def joined_processes() -> Iterator[bool]:
    """Join the processes that a launcher started; gives whether this one speaks for all."""
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
