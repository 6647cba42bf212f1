"""Options that several commands share, each defined once, and what `train` and `continual` do with them."""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any

import typer

if TYPE_CHECKING:
    from labelwise.training.config import Config
    from labelwise.training.stopping import StopRequest

Run = Annotated[Path, typer.Argument(help="folder of a run", metavar="RUN")]
Source = Annotated[str | None, typer.Option(help="SOURCE  [default: the run's own]")]
BatchSize = Annotated[int, typer.Option(help="images at once", min=1)]
Workers = Annotated[int, typer.Option(help="decoding processes", min=0)]
Json = Annotated[bool, typer.Option("--json", help="one JSON object")]

Out = Annotated[Path, typer.Option(help="folder of the run", metavar="RUN")]
Method = Annotated[str | None, typer.Option(help="method id, see `labelwise methods`  [default: auto]")]
Backbone = Annotated[str | None, typer.Option(help="timm model  [default: what the weights are of]")]
Weights = Annotated[str | None, typer.Option(help="hub, none, package:NAME or FILE  [default: hub]")]
ImageSize = Annotated[int | None, typer.Option(help="side in pixels  [default: 224]")]
Rate = Annotated[float | None, typer.Option(help="learning rate of the head, at its peak")]
Seed = Annotated[int | None, typer.Option(help="of everything that is drawn  [default: 0]")]
Assign = Annotated[list[str] | None, typer.Option("--set", help="any setting: a.b=c", metavar="A.B=C")]
Settings = Annotated[Path | None, typer.Option(help="YAML file of settings")]
Resume = Annotated[bool, typer.Option("--resume", help="go on from the last saved state")]


def of_model(
    method: str | None,
    backbone: str | None,
    weights: str | None,
    image_size: int | None,
    lr: float | None,
    seed: int | None,
) -> dict[str, Any]:
    """What these options set, by dotted names."""
    from labelwise.backbones import package_architecture

    return {
        "method": method,
        "backbone.weights": weights,
        "backbone.name": backbone or (weights and package_architecture(weights)),
        "image_size": image_size,
        "optim.lr": lr,
        "seed": seed,
    }


def laid_over(settings: dict[str, Any], options: Mapping[str, Any], assign: Sequence[str] | None) -> Config:
    """Settings under the options that were given, and these under `--set`, checked."""
    from labelwise.training.assigning import override, put
    from labelwise.training.config import make_config

    for name, value in options.items():
        if value is not None:
            put(settings, name, value)
    return make_config(override(settings, assign or []))


@contextmanager
def going_on_by(command: str, out: Path, *words: str) -> Iterator[StopRequest]:
    """Work that a signal stops at its next step; what is raised then tells how to go on."""
    import shlex

    from labelwise.errors import Stopped
    from labelwise.training.stopping import StopRequest

    request = StopRequest()
    try:
        with request.listening():
            yield request
    except Stopped as stopped:
        again = ["labelwise", command, "--out", str(out), "--resume", *words]
        raise Stopped(stopped.given, shlex.join(again)) from None
