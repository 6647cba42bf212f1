"""A folder that predicts in a browser: an ONNX export with a page, a module for other pages, and onnxruntime-web."""

from __future__ import annotations

import re
import shutil
from collections.abc import Sequence
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import torch
from torch import Tensor

from labelwise.data.pixels import BITS
from labelwise.decisions import Decisions
from labelwise.decisions.projection import projection
from labelwise.engines.runtimes import Engine
from labelwise.errors import LabelwiseError
from labelwise.export.artefact import Artefact, seal
from labelwise.export.node import Node
from labelwise.export.parity import compare_batches
from labelwise.export.web_runtime import PROVIDERS, VERSION
from labelwise.labels import LabelSet
from labelwise.runs.files import write_json, write_text

FORMAT_VERSION = 1
WEB, RUNTIME = "web.json", "onnxruntime-web"
_BROWSER, _PAGE = Path(__file__).parent / "browser", Path(__file__).parents[1] / "serving" / "page"
_EXPORT_FILES = ("labelwise.d.ts", "labelwise.js", "resize.js", "source.js", "web.css")
_SHARED = ("common.js", "decide.js", "groups.js", "labelwise.css", "photographs.js")
"""Files of the server's page, which the exported page is also made of."""
_RESULTS = re.compile(r" *<!-- results.*?-->\n(.*?) *<!-- end of results -->\n", re.DOTALL)


def require_web(precision: str, bits: int, decisions: Decisions, labels: LabelSet) -> None:
    """Refuses what a page cannot compute as the run does.

    Args:
        precision: as given.
        bits: that 16-bit grey uses in the run.
        decisions: of the run.
        labels: of the run.

    Raises:
        LabelwiseError: another precision than fp32, 16-bit grey of fewer bits, or rules with too many sets to compare.
    """
    if precision != "fp32":
        raise LabelwiseError(f"{precision} as web", "fp32", "leave out --precision, or give --format onnx")
    if bits != BITS:
        raise LabelwiseError(
            f"a run whose 16-bit grey uses {bits} bits",
            f"{BITS}, as browsers read it",
            "give --format onnx",
        )
    parts = [part.to_json(labels.names) for part in projection(decisions.rules).parts]
    connected = next((part["kept"] for part in parts if "kept" in part), None)
    if connected:
        raise LabelwiseError(
            f"rules on {', '.join(connected[:3])} and others with too many sets of labels to compare in a browser",
            "rules with at most 4,096 sets for connected labels",
            "give --format onnx",
        )


def write_web(artefact: Artefact, run: Engine, runtime: Path) -> None:
    """Adds the page, its module and its runtime to an ONNX export, and seals the folder again.

    Args:
        artefact: of the kind `onnx`, in fp32.
        run: answers for the image that the module compares its first answer on.
        runtime: a folder with the files of onnxruntime-web, which is moved.
    """
    folder = artefact.path
    for name in _EXPORT_FILES:
        shutil.copyfile(_BROWSER / name, folder / name)
    for name in _SHARED:
        shutil.copyfile(_PAGE / name, folder / name)
    write_text(folder / "index.html", exported_page())
    shutil.move(runtime, folder / RUNTIME)
    shutil.copyfile(_BROWSER / "LICENSE-onnxruntime-web.txt", folder / RUNTIME / "LICENSE")
    write_json(folder / WEB, _description(artefact, run))
    seal(folder)


def exported_page() -> str:
    """The exported page: its own head with the results of the server's page."""
    (results,) = _RESULTS.findall((_PAGE / "index.html").read_text(encoding="utf-8"))
    return (_BROWSER / "index.html").read_text(encoding="utf-8").replace("  <!-- results -->\n", results)


def compared_in_node(
    artefact: Artefact, run: Engine, photos: Sequence[tuple[str, Tensor]], parity: Any
) -> Any:
    """The parity of an export with that of its module in Node, where it is installed; recorded in the card.

    Args:
        artefact: as `write_web` left it.
        run: the run.
        photos: named images `[3, H, W]` uint8.
        parity: of the graph.

    Raises:
        LabelwiseError: other answers than the run's, or a folder that the module cannot open.
    """
    if shutil.which("node") is None:
        differences: dict[str, float | str] = {"onnxruntime-web": "not compared: no Node.js here"}
    else:
        with Node(artefact.path, artefact.has_maps) as engine:
            openers = [("onnxruntime-web", lambda: engine)]
            differences = compare_batches(run, openers, photos, artefact.decisions, artefact.labels.names)
    parity = replace(parity, runtimes={**parity.runtimes, **differences})
    artefact.card["parity"] = parity.to_json()
    artefact.save()
    return parity


def _description(artefact: Artefact, run: Engine) -> dict[str, Any]:
    """The content of web.json."""
    decisions, names = artefact.decisions, artefact.labels.names
    logits, _ = run(torch.from_numpy(check_image(artefact.preprocessing.input_size))[None])
    return {
        "format_version": FORMAT_VERSION,
        "runtime": {
            "version": VERSION,
            **{
                provider: {"module": f"{RUNTIME}/{module}", "binary": f"{RUNTIME}/{binary}"}
                for provider, (module, binary) in PROVIDERS.items()
            },
        },
        "rules": {
            "implies": [[names[j] for j in pair] for pair in decisions.implies],
            "exactly_one": [[names[j] for j in group] for group in decisions.exactly_one],
            "parts": [part.to_json(names) for part in projection(decisions.rules).parts],
        },
        "check": [float(logit) for logit in logits[0]],
    }


def check_image(size: tuple[int, int]) -> np.ndarray:
    """The computed image `[3, h, w]` uint8 whose logits are in web.json; `labelwise.js` has the same formula.

    >>> check_image((2, 3))[:, 0].tolist()
    [[0, 7, 14], [68, 75, 82], [136, 143, 150]]
    """
    height, width = size
    index = np.arange(3 * height * width)
    return ((7 * index + 13 * (index // width)) % 256).astype(np.uint8).reshape(3, height, width)
