"""Models of the Hugging Face hub: saving, loading and publishing with the hub's own interface."""

from __future__ import annotations

import os
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import torch
from huggingface_hub import PyTorchModelHubMixin, snapshot_download
from huggingface_hub.errors import HFValidationError
from safetensors.torch import save_file
from torch import Tensor, nn

from labelwise.decisions import Decisions
from labelwise.errors import LabelwiseError, first_line
from labelwise.export.artefact import Artefact
from labelwise.export.bench import preprocessing
from labelwise.export.card import card_of, portable_decisions
from labelwise.export.engines import Eager, open_engine
from labelwise.runs.run import WEIGHTS, Run
from labelwise.runs.sealed import separate
from labelwise.types import LabelSet, Output

_CARD = """---
{{ card_data }}
---

Names many labels in one image, with a threshold and a calibration of its own for each. Install labelwise, then:

```python
import labelwise as lw

for p in lw.load("OWNER/NAME of this page").predict(["photo.jpg"]):
    print(p.selected)
```

The provenance and the measurements of the model are in `artefact.json` under `card`.
"""


@dataclass
class HubConfig:
    """The content of config.json, with the hub's names.

    Args:
        id2label: column -> label name.
        label2id: the reverse.
        problem_type: multi-label classification.
        model_type: the library.
        image_size: height and width in pixels.
    """

    id2label: dict[int, str] = field(default_factory=dict)
    label2id: dict[str, int] = field(default_factory=dict)
    problem_type: str = "multi_label_classification"
    model_type: str = "labelwise"
    image_size: tuple[int, ...] = ()

    def __post_init__(self) -> None:
        # Keys of JSON objects are strings.
        self.id2label = {int(column): name for column, name in self.id2label.items()}
        self.image_size = tuple(self.image_size)

    @classmethod
    def of(cls, labels: LabelSet, size: tuple[int, int]) -> HubConfig:
        """The configuration of some labels and an image size."""
        names = labels.names
        return cls(dict(enumerate(names)), {name: j for j, name in enumerate(names)}, image_size=size)


class HubModel(
    nn.Module,
    PyTorchModelHubMixin,
    library_name="labelwise",
    pipeline_tag="image-classification",
    tags=["multi-label-image-classification"],
    model_card_template=_CARD,
):
    """A trained model with `save_pretrained`, `from_pretrained` and `push_to_hub`.

    The saved folder is an artefact of kind `weights`, with the hub's config.json and model card.

    Args:
        config: labels and problem type.
        artefact: its source, with labels, preprocessing, decisions, card and settings.
    """

    def __init__(self, config: HubConfig, artefact: Artefact) -> None:
        super().__init__()
        self.config, self.artefact = config, artefact
        engine = open_engine(artefact, "cpu")
        if not isinstance(engine, Eager):
            raise LabelwiseError(
                f"{artefact.path}, a graph ({artefact.kind})", "weights", "open it with labelwise.load"
            )
        self.model = engine.model

    @classmethod
    def from_run(cls, run: Run | str | Path) -> HubModel:
        """The model of a finished run.

        Raises:
            LabelwiseError: not a run, or a run without weights.
        """
        run = run if isinstance(run, Run) else Run.open(run)
        prepared = preprocessing(run, Eager(run.model(), "cpu"))
        settings = run.config.model_dump(mode="json")
        # The path of the data and the replaced pretrained weights are useless on another machine.
        settings["data"]["source"], settings["backbone"]["weights"] = "", "none"
        artefact = Artefact(
            run.path,
            "weights",
            WEIGHTS,
            run.labels,
            prepared,
            portable_decisions(run),
            True,
            card_of(run),
            settings,
            test_time=run.config.test_time,
        )
        return cls(HubConfig.of(run.labels, prepared.size), artefact)

    @property
    def labels(self) -> LabelSet:
        """Labels in column order."""
        return self.artefact.labels

    @property
    def decisions(self) -> Decisions:
        """From logits to probabilities and selected labels."""
        return self.artefact.decisions

    def forward(self, images: Tensor, want_maps: bool = False) -> Output:
        """The model's output for `[B, 3, H, W]` uint8 images or floats in [0, 1]."""
        return self.model(images, want_maps=want_maps)

    def _save_pretrained(self, save_directory: Path) -> None:
        state = {k: v.detach().cpu().contiguous() for k, v in self.model.state_dict().items()}
        save_file(separate(state), save_directory / WEIGHTS, {"format": "labelwise-1"})
        artefact = self.artefact
        Artefact(
            save_directory,
            "weights",
            WEIGHTS,
            artefact.labels,
            artefact.preprocessing,
            artefact.decisions,
            True,
            artefact.card,
            artefact.settings,
            test_time=artefact.test_time,
        ).save()

    @classmethod
    def _from_pretrained(cls, *, model_id: str, map_location: str = "cpu", **options: Any) -> HubModel:
        names = ("revision", "cache_dir", "force_download", "local_files_only", "token")
        artefact = Artefact.open(fetch(model_id, **{k: options[k] for k in names if k in options}))
        config = HubConfig.of(artefact.labels, artefact.preprocessing.size)
        return cls(config, artefact).to(torch.device(map_location)).eval()


def fetch(name: str | Path, **options: Any) -> Path:
    """The folder of a model: a local folder, or `OWNER/NAME` of the hub, which is downloaded once.

    Raises:
        LabelwiseError: no such folder, and no such model on a reachable hub.
    """
    if os.path.isdir(name):
        return Path(name)
    expected = "a run, an exported folder, or OWNER/NAME of the hub"
    try:
        return Path(snapshot_download(str(name), **options))
    except HFValidationError:
        raise LabelwiseError(f"{name}, which is no folder", expected, "check the path") from None
    except Exception as error:  # the network, the hub and the cache raise many kinds of errors
        given = f"{name}, which is no folder here and could not be fetched ({first_line(error)})"
        raise LabelwiseError(given, expected, "check the path or the connection") from error
