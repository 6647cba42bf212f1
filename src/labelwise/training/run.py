"""RUN: the folder that training leaves, read back."""

from __future__ import annotations

import shutil
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path

import torch
import yaml
from safetensors import SafetensorError

from labelwise.decisions import Decisions
from labelwise.decisions.decisions import NOTHING
from labelwise.errors import LabelwiseError, first_line
from labelwise.methods import Method, create_method
from labelwise.model import LabelModel
from labelwise.training.config import Config, make_config
from labelwise.training.files import read_json, write_atomic, write_json, write_text
from labelwise.training.plain_yaml import read_yaml
from labelwise.training.sealed import is_whole, load_sealed, save_sealed
from labelwise.training.test_time import NONE
from labelwise.training.views import with_views
from labelwise.types import LabelPriors, LabelSet

WEIGHTS = "model.safetensors"
KEPT = "state/best.safetensors"
STAGES, CHOSEN = "stages", "chosen.json"
"""Where training within a time keeps its stages, and the name of the one that the folder answers as."""


def folder_of(path: Path) -> Path:
    """The folder itself, or that of the chosen stage where it holds stages."""
    return path / STAGES / read_json(path / CHOSEN)["stage"] if (path / CHOSEN).is_file() else path


@dataclass(frozen=True)
class Run:
    """A run on disk.

    Args:
        path: its folder.
        config: every setting, resolved.
        labels: label order and groups.
    """

    path: Path
    config: Config
    labels: LabelSet

    @classmethod
    def open(cls, path: str | Path, test_time: str | None = None) -> Run:
        """Read a run's settings and labels.

        Args:
            path: its folder, or one of stages, of which the chosen one is opened.
            test_time: how it is to answer from now on, in place of its own setting; new decisions are then due.

        Raises:
            LabelwiseError: not a run, a damaged one, or one whose decisions were fitted under another `test_time`.
        """
        folder = folder_of(Path(path))
        if not (folder / "config.yaml").is_file():
            raise LabelwiseError(
                f"{folder} holds no config.yaml",
                "the folder that `labelwise train --out` wrote",
                "check the path",
            )
        stored = read_json(folder / "labels.json")
        labels, settings = LabelSet.from_json(stored), read_yaml(folder / "config.yaml")
        if test_time is not None:
            return cls(folder, make_config({**settings, "test_time": test_time}), labels)
        run, fitted = cls(folder, make_config(settings), labels), stored.get("test_time", NONE)
        if run.config.test_time != fitted and stored.get("thresholds_from", NOTHING) != NOTHING:
            raise LabelwiseError(
                f"{path} with test_time = {run.config.test_time}, and thresholds of scores under {fitted}",
                "thresholds and calibration of the scores that they decide about",
                f"run: labelwise tune {folder} --test-time {run.config.test_time}",
            )
        return run

    def save(self) -> None:
        """Write settings and labels; decisions fitted before are forgotten."""
        self.save_settings()
        write_json(self.path / "labels.json", self.labels.to_json())

    def save_settings(self) -> None:
        """Write the settings alone."""
        settings = self.config.model_dump(mode="json")
        write_text(self.path / "config.yaml", yaml.safe_dump(settings, sort_keys=False, allow_unicode=True))

    def build(self, weights: str | None = None, priors: LabelPriors | None = None) -> Method:
        """The method of these settings, newly initialised.

        Args:
            weights: the backbone's weights in place of the settings' own.
            priors: what the training split says of the labels; where absent, room for what the weights bring.
        """
        c = self.config
        if priors is None:
            given = None if c.vectors.source == "learned" else torch.zeros(len(self.labels), c.vectors.dim)
            priors = LabelPriors.nothing(len(self.labels), given, c.vectors.missing)
        return create_method(
            c.method,
            self.labels,
            c.backbone.name,
            weights=weights or c.backbone.weights,
            image_size=c.image_size,
            freeze=c.backbone.freeze,
            drop_path=c.backbone.drop_path,
            stage=c.backbone.stage,
            fixed_statistics=c.backbone.statistics == "fixed",
            frozen_groups=c.backbone.frozen_groups,
            unfrozen_groups=c.backbone.unfrozen_groups,
            gradient_checkpointing=c.backbone.gradient_checkpointing,
            extractor=c.extractor,
            relation=c.relation,
            classifier=c.classifier,
            loss=c.loss,
            terms=c.terms(),
            priors=priors,
            vector_dim=c.vectors.dim,
        )

    def model(self) -> LabelModel:
        """The trained model, in evaluation mode, answering by the views that `test_time` says.

        Raises:
            LabelwiseError: no weights yet, weights that do not fit the settings, or a network for one size where two
                are to be seen.
        """
        path = self.path / WEIGHTS
        if not path.is_file():
            raise LabelwiseError(
                f"{self.path} holds no {WEIGHTS}", "a run with an epoch done", "finish it with --resume"
            )
        model = self.build("none").model
        try:
            model.load_state_dict(load_sealed(path), strict=True)
        except (SafetensorError, RuntimeError, OSError) as error:
            reason = first_line(error)
            raise LabelwiseError(
                f"{path} ({reason})",
                "the weights of these settings",
                "give `labelwise train --resume`, which restores damaged ones, or train again",
            ) from None
        return self.with_views(model.eval())

    def with_views(self, model: LabelModel) -> LabelModel:
        """A model of these settings, answering by the views that `test_time` says.

        Raises:
            LabelwiseError: a network for images of one size where two are to be seen.
        """
        return with_views(model, self.config.test_time, self.config.transform().sizes)

    def save_weights(self, model: LabelModel) -> None:
        """Write the weights atomically, and a copy for `settle_weights`."""
        state = {k: v.detach().cpu().contiguous() for k, v in model.state_dict().items()}
        for name in (WEIGHTS, KEPT):
            write_atomic(self.path / name, lambda part: save_sealed(state, part))

    def settle_weights(self, say: Callable[[str], None]) -> None:
        """Put the copy in the place of weights that are damaged.

        Raises:
            LabelwiseError: the copy is damaged too.
        """
        path, copy = self.path / WEIGHTS, self.path / KEPT
        if not path.is_file() or is_whole(path):
            return
        if not is_whole(copy):
            raise LabelwiseError(
                f"{path} and its copy {copy}, both damaged", "one of them whole", "train anew"
            )
        write_atomic(path, lambda part: shutil.copyfile(copy, part))
        say(f"warning: {path} was damaged and is restored from its copy")

    def decisions(self) -> Decisions:
        """How logits become selected labels; 0.5 on the plain sigmoid where nothing was fitted.

        Raises:
            LabelwiseError: damaged entries in labels.json.
        """
        return Decisions.from_json(read_json(self.path / "labels.json"), self.labels)

    def save_decisions(self, decisions: Decisions) -> None:
        """Store decisions beside the labels, in labels.json, with the `test_time` of the scores that they are of."""
        stored = {**self.labels.to_json(), **decisions.to_json(self.labels.names)}
        if self.config.test_time != NONE:
            stored["test_time"] = self.config.test_time
        write_json(self.path / "labels.json", stored)
