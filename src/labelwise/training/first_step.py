"""A trial step of an unverified backbone in a child process, since a fault in native code would end the training."""

from __future__ import annotations

import hashlib
import json
import platform
import subprocess
import sys
from collections.abc import Callable, Mapping
from pathlib import Path
from typing import Any

import torch
from torch import nn

from labelwise.backbones import TimmBackbone
from labelwise.backbones.description import VERIFIED, family_of
from labelwise.data.cache import cache_folder
from labelwise.errors import LabelwiseError
from labelwise.runs.config import Config
from labelwise.runs.files import write_json
from labelwise.runs.stored import alone

LIMIT = 600
"""Seconds after which a trial counts as failed."""
CHANNELS_LAST, PLAIN = "channels-last", "plain"
FORMATS = {CHANNELS_LAST: torch.channels_last, PLAIN: torch.contiguous_format}


def settle_format(
    backbone: nn.Module, config: Config, device: torch.device, say: Callable[[str], None]
) -> None:
    """Select the memory format in which a backbone trains on the CPU: channels-last, or the plain one if it fails.

    The first time a backbone is trained at a size on a machine, a child process computes a forward and backward pass
    of two images. The cache keeps the result by model, size, version of torch and processor. Families in `VERIFIED`,
    frozen backbones and GPUs need no trial.

    Args:
        backbone: newly built; its format changes if needed.
        config: for the sizes of images.
        device: of the training.
        say: prints a line to the user.

    Raises:
        LabelwiseError: the step fails in both formats.
    """
    if not isinstance(backbone, TimmBackbone) or backbone.frozen or device.type != "cpu":
        return
    if family_of(backbone.name) in VERIFIED:
        return
    settings = trial_settings(backbone, config)
    file = file_of(settings)
    with alone(file.with_suffix(".lock")):
        chosen = _stored_format(file)
        if chosen is None:
            chosen = _working_format(settings)
            write_json(file, {"format": chosen})
            if chosen == PLAIN:
                say(f"note: {backbone.name} trains in the plain memory format on this machine")
    backbone.set_format(FORMATS[chosen])


def trial_settings(backbone: TimmBackbone, config: Config) -> dict[str, Any]:
    """What the result of a trial depends on, besides the machine."""
    return {
        "name": backbone.name,
        "stage": backbone.stage,
        "side": config.image_size,
        "size": config.train_transform(backbone.stride).size,
        "threads": torch.get_num_threads(),
    }


def file_of(settings: Mapping[str, Any]) -> Path:
    """The file that keeps a result, named by the settings, the version of torch and the processor."""
    machine = f"{platform.machine()} {_processor()} {torch.__version__}"
    key = hashlib.sha256(f"format-1 {sorted(settings.items())} {machine}".encode()).hexdigest()[:32]
    return cache_folder() / "formats" / f"{key}.json"


def _working_format(settings: Mapping[str, Any]) -> str:
    """The first format in which the step ends without a failure."""
    reason = ""
    for name in FORMATS:
        command = _command({**settings, "format": name})
        try:
            process = subprocess.run(command, capture_output=True, text=True, timeout=LIMIT, check=False)
        except subprocess.TimeoutExpired:
            reason = f"no end within {LIMIT} s"
            continue
        if process.returncode == 0:
            return name
        lines = process.stderr.strip().splitlines()
        reason = lines[-1] if process.returncode > 0 and lines else f"exit code {process.returncode}"
    height, width = settings["size"]
    raise LabelwiseError(
        f"a training step of backbone {settings['name']!r} with images of {height} × {width} px ({reason})",
        "a step that ends without an error",
        "choose another --backbone, or give --freeze-backbone",
    )


def _command(settings: Mapping[str, Any]) -> list[str]:
    """The command of the child process: this module as a program."""
    return [sys.executable, "-m", __name__, json.dumps(settings)]


def _stored_format(file: Path) -> str | None:
    """The format that an earlier trial chose; `None` without one."""
    try:
        chosen = json.loads(file.read_text())["format"]
    except (OSError, ValueError, KeyError, TypeError):  # absent or damaged
        return None
    return chosen if chosen in FORMATS else None


def _processor() -> str:
    """The model of the processor."""
    try:
        lines = Path("/proc/cpuinfo").read_text(encoding="utf-8").splitlines()
    except OSError:
        return platform.processor()
    return next((line.partition(":")[2].strip() for line in lines if line.startswith("model name")), "")


def step(settings: Mapping[str, Any]) -> None:
    """One forward and backward pass of two images through a randomly initialised backbone.

    Args:
        settings: `name`, `stage`, `side` and `size` of `settle_format`, the number of threads, and the `format`.
    """
    torch.set_num_threads(settings["threads"])
    backbone = TimmBackbone(settings["name"], "none", settings["side"], stage=settings["stage"]).train()
    backbone.set_format(FORMATS[settings["format"]])
    backbone(torch.rand(2, 3, *settings["size"])).square().mean().backward()


if __name__ == "__main__":
    step(json.loads(sys.argv[1]))
