"""Several processes, as torchrun starts them."""

from __future__ import annotations

import os
from collections.abc import Iterator
from contextlib import contextmanager

import torch
from accelerate import Accelerator, DistributedDataParallelKwargs
from accelerate.state import AcceleratorState
from torch.nn.parallel import DistributedDataParallel

from labelwise.methods import Method
from labelwise.training.config import Config
from labelwise.training.peers import watched_peers


def make_accelerator(config: Config) -> Accelerator:
    """Device, precision and processes of a training."""
    # Runs of different precision may follow each other in one process; accelerate would keep the first one's.
    AcceleratorState._reset_state()
    # While the backbone rests, its parameters have no gradient, which the distributed wrapper must expect.
    rests = not config.backbone.freeze and config.backbone.warm_epochs > 0
    return Accelerator(
        cpu=not torch.accelerator.is_available(),  # or accelerate takes each of several processes for the only one
        mixed_precision={"fp32": "no"}.get(config.precision, config.precision),
        kwargs_handlers=[DistributedDataParallelKwargs(find_unused_parameters=rests)],
    )


def keep_memories_apart(method: Method) -> None:
    """Keep the distributed wrapper from sending the memories of terms and strategies with every step.

    Each is written from the joined batch, so that all processes hold the same; `[N, L]` tables are large.
    """
    names = [name for name, _ in method.named_buffers() if not name.startswith("model.")]
    DistributedDataParallel._set_params_and_buffers_to_ignore_for_model(method, names)


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
