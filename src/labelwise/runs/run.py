"""RUN: the folder that training writes."""

from __future__ import annotations

import shutil
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path

import torch
import yaml
from safetensors import SafetensorError

from labelwise.composition import Method
from labelwise.composition.added import add_labels
from labelwise.decisions import Decisions
from labelwise.decisions.decisions import NOTHING
from labelwise.errors import LabelwiseError, first_line
from labelwise.methods import create_method
from labelwise.model import LabelModel
from labelwise.runs.config import Config, make_config
from labelwise.runs.files import read_json, write_atomic, write_json, write_text
from labelwise.runs.plain_yaml import read_yaml
from labelwise.runs.sealed import is_whole, load_sealed, save_sealed
from labelwise.runs.test_time import NONE
from labelwise.runs.views import with_views
from labelwise.types import LabelPriors, LabelSet

WEIGHTS = "model.safetensors"
KEPT = "state/best.safetensors"
STAGES, CHOSEN = "stages", "chosen.json"
"""Folder of the stages of anytime training, and the file that names the chosen stage."""


def folder_of(path: Path) -> Path:
    """The folder itself, or that of the chosen stage if it holds stages."""
    return path / STAGES / read_json(path / CHOSEN)["stage"] if (path / CHOSEN).is_file() else path


@dataclass(frozen=True)
class Run:
    """A run on disk."""

    path: Path
    config: Config
    labels: LabelSet

    @classmethod
    def open(cls, path: str | Path, test_time: str | None = None) -> Run:
        """Read a run's settings and labels.

        Args:
            path: its folder, or a folder of stages, of which the chosen one is opened.
            test_time: replaces the run's own setting; decisions must then be fitted again.

        Raises:
            LabelwiseError: not a run, a damaged run, or decisions that were fitted under another `test_time`.
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
                "thresholds and calibration fitted under the same test_time",
                f"run: labelwise tune {folder} --test-time {run.config.test_time}",
            )
        return run

    def save(self) -> None:
        """Write settings and labels; earlier decisions are dropped."""
        self.save_settings()
        write_json(self.path / "labels.json", self.labels.to_json())

    def save_settings(self) -> None:
        """Write only the settings."""
        settings = self.config.model_dump(mode="json")
        write_text(self.path / "config.yaml", yaml.safe_dump(settings, sort_keys=False, allow_unicode=True))

    def build(self, weights: str | None = None, priors: LabelPriors | None = None) -> Method:
        """The method of these settings without taught labels, newly initialised.

        Args:
            weights: replaces the settings' weights of the backbone.
            priors: label statistics of the training split; if absent, placeholders for those in the run's weights.
        """
        config = self.config
        names = self.labels.names[: len(self.labels) - len(config.taught.labels)]
        labels = LabelSet(names, self.labels.groups, self.labels.rules)
        if priors is None:
            learned = config.vectors.source == "learned"
            vectors = None if learned else torch.zeros(len(labels), config.vectors.dim)
            priors = LabelPriors.nothing(len(labels), vectors, config.vectors.missing)
        return create_method(
            config.method,
            labels,
            config.backbone.name,
            weights=weights or config.backbone.weights,
            image_size=config.image_size,
            freeze=config.backbone.freeze,
            drop_path=config.backbone.drop_path,
            stage=config.backbone.stage,
            fixed_statistics=config.backbone.statistics == "fixed",
            frozen_groups=config.backbone.frozen_groups,
            unfrozen_groups=config.backbone.unfrozen_groups,
            gradient_checkpointing=config.backbone.gradient_checkpointing,
            extractor=config.extractor,
            relation=config.relation,
            classifier=config.classifier,
            loss=config.loss,
            terms=config.terms(),
            priors=priors,
            vector_dim=config.vectors.dim,
            regions=dict(config.regions),
            controls=config.controls,
        )

    def model(self) -> LabelModel:
        """The trained model in evaluation mode, with the views of `test_time`.

        Raises:
            LabelwiseError: no weights yet, weights that do not fit the settings, or a network that does not accept
                the sizes of the views.
        """
        path = self.path / WEIGHTS
        if not path.is_file():
            raise LabelwiseError(
                f"{self.path} holds no {WEIGHTS}", "a run with an epoch done", "finish it with --resume"
            )
        model = self.build("none").model
        if taught := len(self.config.taught.labels):
            add_labels(model, taught)
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
        """A model of these settings, with the views of `test_time`.

        Raises:
            LabelwiseError: the network does not accept the sizes of the views.
        """
        return with_views(model, self.config.test_time, self.config.transform().sizes)

    def save_weights(self, model: LabelModel) -> None:
        """Write the weights atomically, and a copy for `settle_weights`."""
        state = {k: v.detach().cpu().contiguous() for k, v in model.state_dict().items()}
        for name in (WEIGHTS, KEPT):
            write_atomic(self.path / name, lambda temporary: save_sealed(state, temporary))

    def settle_weights(self, say: Callable[[str], None]) -> None:
        """Replace damaged weights by their copy.

        Raises:
            LabelwiseError: the copy is damaged too.
        """
        path, copy = self.path / WEIGHTS, self.path / KEPT
        if not path.is_file() or is_whole(path):
            return
        if not is_whole(copy):
            raise LabelwiseError(
                f"{path} and its copy {copy}, both damaged", "one of them undamaged", "train again"
            )
        write_atomic(path, lambda temporary: shutil.copyfile(copy, temporary))
        say(f"warning: {path} was damaged and is restored from its copy")

    def decisions(self) -> Decisions:
        """How logits become selected labels; 0.5 on the plain sigmoid if nothing was fitted.

        Raises:
            LabelwiseError: damaged entries in labels.json.
        """
        return Decisions.from_json(read_json(self.path / "labels.json"), self.labels)

    def save_decisions(self, decisions: Decisions) -> None:
        """Write decisions into labels.json, with the `test_time` under which they were fitted."""
        stored = {**self.labels.to_json(), **decisions.to_json(self.labels.names)}
        if self.config.test_time != NONE:
            stored["test_time"] = self.config.test_time
        write_json(self.path / "labels.json", stored)
