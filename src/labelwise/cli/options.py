"""Options shared by several commands, and their use in `train` and `continual`."""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager
from enum import Enum
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any

import typer

if TYPE_CHECKING:
    from labelwise.runs.config import Config
    from labelwise.training.stopping import StopRequest


class DeviceName(str, Enum):
    """What computes predictions."""

    cpu = "cpu"
    gpu = "gpu"
    tensorrt = "tensorrt"


Device = Annotated[
    DeviceName | None,
    typer.Option(help="what computes  [default: a GPU if there is one for a run, the CPU for an export]"),
]
Run = Annotated[Path, typer.Argument(help="folder of a run", metavar="RUN")]
Source = Annotated[str | None, typer.Option(help="SOURCE  [default: the run's own]")]
BatchSize = Annotated[int, typer.Option(help="images per batch", min=1)]
Workers = Annotated[int, typer.Option(help="decoding processes", min=0)]
Json = Annotated[bool, typer.Option("--json", help="one JSON object")]

Out = Annotated[Path, typer.Option(help="folder of the run", metavar="RUN")]
Method = Annotated[str | None, typer.Option(help="method id, see `labelwise methods`  [default: auto]")]
Backbone = Annotated[str | None, typer.Option(help="timm model  [default: the architecture of the weights]")]
Weights = Annotated[str | None, typer.Option(help="hub, none, package:NAME or FILE  [default: hub]")]
ImageSize = Annotated[int | None, typer.Option(help="side in pixels  [default: 224]")]
Rate = Annotated[float | None, typer.Option(help="peak learning rate of the head")]
Seed = Annotated[int | None, typer.Option(help="random seed  [default: 0]")]
Assign = Annotated[list[str] | None, typer.Option("--set", help="any setting: a.b=c", metavar="A.B=C")]
Settings = Annotated[Path | None, typer.Option(help="YAML file of settings")]
Resume = Annotated[bool, typer.Option("--resume", help="resume from the last saved state")]


def of_model(
    method: str | None,
    backbone: str | None,
    weights: str | None,
    image_size: int | None,
    lr: float | None,
    seed: int | None,
) -> dict[str, Any]:
    """Return the settings of these options by dotted names."""
    from labelwise.backbones import package_architecture

    return {
        "method": method,
        "backbone.weights": weights,
        "backbone.name": backbone or (weights and package_architecture(weights)),
        "image_size": image_size,
        "optim.lr": lr,
        "seed": seed,
    }


def merged_config(
    settings: dict[str, Any], options: Mapping[str, Any], assign: Sequence[str] | None
) -> Config:
    """Validate the settings; given options override them and `--set` overrides both."""
    from labelwise.runs.config import make_config
    from labelwise.training.assigning import override, put

    for name, value in options.items():
        if value is not None:
            put(settings, name, value)
    return make_config(override(settings, assign or []))


def print_json(record: Any, indent: int | None = None) -> None:
    """Print plain data as JSON."""
    import json

    typer.echo(json.dumps(record, ensure_ascii=False, indent=indent))


@contextmanager
def resumable(command: str, out: Path, *flags: str) -> Iterator[StopRequest]:
    """Stop the work at its next step after a signal; the error then names the command that resumes it."""
    import shlex

    from labelwise.errors import Stopped
    from labelwise.training.stopping import StopRequest

    request = StopRequest()
    try:
        with request.listening():
            yield request
    except Stopped as stopped:
        resume_command = ["labelwise", command, "--out", str(out), "--resume", *flags]
        raise Stopped(stopped.given, shlex.join(resume_command)) from None
