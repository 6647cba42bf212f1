"""From a data set to a finished run: splits, training, thresholds, evaluation, report."""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path
from typing import TYPE_CHECKING, Any

from labelwise.data.dataset import Dataset
from labelwise.errors import LabelwiseError
from labelwise.runs.config import Config, make_config
from labelwise.training.opening import open_data
from labelwise.training.stopping import StopRequest

if TYPE_CHECKING:
    from labelwise.runs.run import Run


def fit(
    source: Dataset | str | None = None,
    method: str = "auto",
    backbone: str | Mapping[str, Any] | None = None,
    out: str | Path = "runs/latest",
    *,
    data: Dataset | str | Mapping[str, Any] | None = None,
    resume: bool = False,
    quiet: bool = False,
    **settings: Any,
) -> Run:
    """Train on a data set and write a run.

    Data without splits are split. The epoch is chosen and thresholds are fitted on the validation split; a test
    split is evaluated once at the end.

    Args:
        source: a data set, or SOURCE text.
        method: method id; `auto` chooses by the number of images and of known labels, see `method_of`.
        backbone: timm model name, or settings such as `{"weights": "none", "freeze": True}`.
        out: the run's folder.
        data: settings of the data, such as `{"known_proportion": 0.3}`; `fit(data=SOURCE)` is `fit(SOURCE)`.
        resume: go on from the state in `out`.
        quiet: print nothing.
        settings: further settings by name, nested as in config.yaml, for example `epochs=3, optim={"lr": 1e-3}`.

    Raises:
        LabelwiseError: no source or two of them, wrong settings or data, or a folder that holds another run.

    >>> fit("csv:labels.csv", data={"known": "half"})
    Traceback (most recent call last):
    labelwise.errors.LabelwiseError: data.known = 'half'; expected ...
    """
    data_settings: dict[str, Any] = {"source": data} if data is not None else {}
    if isinstance(data, Mapping):
        data_settings = dict(data)
    sources = [s for s in (source, data_settings.pop("source", None)) if s is not None]
    if len(sources) != 1 or not isinstance(sources[0], (Dataset, str)):
        raise LabelwiseError(
            f"{' and '.join(repr(getattr(s, 'source', s)) for s in sources) or 'nothing'} to learn from",
            "one data set, or one SOURCE text",
            'write for example fit("csv:labels.csv", data={"known_proportion": 0.3})',
        )
    (only,) = sources
    all_settings: dict[str, Any] = {**settings, "method": method}
    all_settings["data"] = {"source": only if isinstance(only, str) else only.source, **data_settings}
    all_settings["backbone"] = {"name": backbone} if isinstance(backbone, str) else dict(backbone or {})
    config = make_config(all_settings)
    return train(config, Path(out), only if isinstance(only, Dataset) else None, resume=resume, quiet=quiet)


def train(
    config: Config,
    out: Path,
    data: Dataset | None = None,
    *,
    resume: bool = False,
    quiet: bool = False,
    stop: StopRequest | None = None,
) -> Run:
    """Train by a configuration; see `fit`.

    Args:
        stop: a request to stop at the next step, for example by a signal; `None` leaves signal handlers unchanged.

    Raises:
        Stopped: after such a request, with the state saved.
    """
    opened = open_data(config, data)
    from labelwise.training.course import train_opened  # loads the networks' libraries

    return train_opened(opened, config, out, resume, quiet, stop or StopRequest())
