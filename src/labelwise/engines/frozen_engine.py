"""Feature maps of a fixed backbone by OpenVINO, if it agrees with PyTorch and is faster."""

from __future__ import annotations

import hashlib
import json
import platform
import time
import warnings
from collections.abc import Callable, Mapping, Sequence
from functools import cache
from importlib.util import find_spec
from pathlib import Path
from typing import Any

import numpy as np
import torch
from torch import Tensor, nn

from labelwise.backbones import TimmBackbone
from labelwise.data.cache import cache_folder
from labelwise.data.sheet import Size
from labelwise.engines.runtimes import compiled, openvino_core
from labelwise.errors import LabelwiseError, first_line
from labelwise.runs.config import Config
from labelwise.runs.files import write_atomic, write_json
from labelwise.runs.stored import alone

WORTH = 400 * 224 * 224
"""Pixels of all images above which `auto` spends the seconds of a conversion."""
BOUND = 1e-4
"""Largest accepted difference from PyTorch in fp32, as a share of the largest value of a map."""
BOUND_BF16 = 0.15
"""The same in bf16, as a share of the norm of an image's map. Single values differ by up to a third of the largest one,
since 8 significant bits move activations across the bounds of ReLUs; see results/LOG.md for what mAP makes of it."""
QUICKER = 0.9
"""Largest accepted share of PyTorch's time."""
EAGER = "PyTorch"
_FORMAT = 4
_BATCH_SIZES = (1, 2, 3, 8)
"""Sizes of compared batches: OpenVINO 2026.4 computes some graphs wrongly for more than one image."""
_ROUNDS = 6


def use_engine(
    backbone: nn.Module,
    config: Config,
    images: int,
    device: torch.device,
    say: Callable[[str], None] = lambda line: None,
    views: bool = False,
) -> None:
    """Select the engine of a fixed backbone's maps by `backbone.engine`.

    A backbone is fixed if it is frozen or in evaluation mode. `auto` selects OpenVINO for many images on a CPU if it is
    installed, agrees with PyTorch within `BOUND` and is faster. The graph and the decision are cached by weights, image
    size, version and processor, so that the next run on this machine uses the same engine.

    Args:
        backbone: unchanged while it learns.
        config: for the requested engine and the size of the images.
        images: number of images.
        device: device of the model.
        say: prints a line to the user.
        views: also select it for the second size of `test_time`.

    Raises:
        LabelwiseError: `openvino` or `openvino-bf16` is requested, and it is not installed or the model is on a GPU.
    """
    requested, sizes = config.backbone.engine, (config.transform() if views else config.one_view()).sizes
    if (
        not isinstance(backbone, TimmBackbone)
        or (backbone.training and not backbone.frozen)
        or requested == "eager"
        or backbone.engine is not None
    ):
        return
    if requested != "auto" and device.type != "cpu":
        raise LabelwiseError(
            f"backbone.engine = {requested} on {device.type}",
            "a model on the CPU",
            "set backbone.engine=auto",
        )
    pixels = images * sum(height * width for height, width in sizes)
    if requested == "auto" and (device.type != "cpu" or pixels < WORTH):
        return
    if requested == "auto" and find_spec("openvino") is None:
        say(
            "note: PyTorch computes the maps; OpenVINO is often twice as fast: pip install 'labelwise[openvino]'"
        )
        return
    for precision in ("bf16", "fp32") if requested == "openvino-bf16" else ("fp32",):
        engines = [_accepted_engine(backbone, size, precision, say) for size in sizes]
        if None not in engines:
            break
    backbone.engine = OpenVINOMaps.joined([engine for engine in engines if engine is not None])


def engine_name(backbone: nn.Module) -> str:
    """Name of the engine that computes a backbone, with a version unless it is PyTorch."""
    engine = getattr(backbone, "engine", None)
    return EAGER if engine is None else str(engine.name)


class OpenVINOMaps:
    """A backbone in OpenVINO: uint8 images `[B, 3, H, W]` of known sizes -> maps `[B, C, h, w]` float32.

    Args:
        graphs: compiled graph of each height and width.
        name: of the engine, with its version.
    """

    def __init__(self, graphs: Mapping[Size, Any], name: str) -> None:
        self.graphs, self.name = graphs, name

    @classmethod
    def joined(cls, engines: Sequence[OpenVINOMaps]) -> OpenVINOMaps | None:
        """One engine for the sizes of several; `None` without one."""
        graphs = {size: graph for engine in engines for size, graph in engine.graphs.items()}
        return cls(graphs, engines[0].name) if engines else None

    def takes(self, images: Tensor) -> bool:
        """Whether it can compute these images; PyTorch computes other sizes, floats and traced graphs."""
        is_supported = images.dtype == torch.uint8 and images.device.type == "cpu"
        return is_supported and tuple(images.shape[-2:]) in self.graphs and not torch.compiler.is_compiling()

    def __call__(self, images: Tensor) -> Tensor:
        """The maps of a batch."""
        height, width = images.shape[-2:]
        return torch.from_numpy(np.array(self.graphs[height, width]([images.contiguous().numpy()])[0]))

    def __deepcopy__(self, memo: dict[int, Any]) -> OpenVINOMaps:
        return self  # it has no state, so a copied model can share the graph


def _accepted_engine(
    backbone: TimmBackbone, size: Size, precision: str, say: Callable[[str], None]
) -> OpenVINOMaps | None:
    """The engine of one size, if it agrees and is faster; a cached decision is not tested again."""
    folder = cache_folder() / "engines"
    refusal = "not OpenVINO in bf16" if precision == "bf16" else "PyTorch computes the maps, not OpenVINO"
    graph = folder / f"{_key(backbone, size, precision)}.xml"
    decision_file = graph.with_suffix(".json")

    def open_graph() -> OpenVINOMaps:
        model, name = compiled(graph, precision)
        return OpenVINOMaps({size: model}, name)

    try:
        with alone(graph.with_suffix(".lock")):
            try:
                stored = json.loads(decision_file.read_text())
                return open_graph() if stored["taken"] else None
            except (OSError, ValueError, KeyError, RuntimeError):  # not cached yet, or damaged
                pass
            try:
                _convert(backbone, size, graph)
                engine = open_graph()
                record = _comparison(backbone, engine, size)
            except LabelwiseError:
                raise
            except Exception as error:  # converters raise nearly anything
                record = {"taken": False, "why": f"{type(error).__name__}: {first_line(error)}"}
            write_json(decision_file, record)
    except LabelwiseError as error:  # such as a full disk: the next run tries again
        say(f"note: {refusal}: {error.given}")
        return None
    if not record["taken"]:
        say(f"note: {refusal}: {record['why']}")
        return None
    say(
        f"maps by {engine.name}: {record['times']:.1f} times as fast as PyTorch, "
        f"largest difference {record['difference']:.0e} of {record['share']}"
    )
    return engine


@torch.inference_mode()
def _comparison(backbone: TimmBackbone, engine: OpenVINOMaps, size: Size) -> dict[str, Any]:
    """Whether an engine is used, by its maps and time beside PyTorch's on noise, where maps differ most."""
    generator = torch.Generator().manual_seed(0)
    images = torch.randint(0, 256, (max(_BATCH_SIZES), 3, *size), dtype=torch.uint8, generator=generator)
    expected, differences = backbone(images).float(), []
    bound, difference_of, share = BOUND, _largest_difference, "the largest value"
    if engine.name.endswith("bf16"):
        bound, difference_of, share = BOUND_BF16, _norm_difference, "their norm"
    record: dict[str, Any] = {"taken": False, "engine": engine.name}
    for count in _BATCH_SIZES:
        reference, maps = expected[:count], engine(images[:count])
        if reference.shape != maps.shape:
            return {**record, "why": f"maps of {list(maps.shape)}, not {list(reference.shape)}"}
        differences.append(difference_of(reference, maps))
    difference, images = float(np.max(differences)), images[:3]
    eager_seconds, engine_seconds = _seconds(lambda: backbone(images), lambda: engine(images))
    record |= {"difference": difference, "share": share, "times": eager_seconds / engine_seconds}
    if not difference <= bound:
        return {**record, "why": f"its maps differ by {difference:.0e} of {share}"}
    if engine_seconds > QUICKER * eager_seconds:
        return {**record, "why": f"it takes {engine_seconds / eager_seconds:.1f} times as long"}
    return {**record, "taken": True}


def _largest_difference(expected: Tensor, maps: Tensor) -> float:
    """The largest difference of a value, as a share of the largest value."""
    return float((expected - maps).abs().max() / expected.abs().max().clamp_min(1e-12))


def _norm_difference(expected: Tensor, maps: Tensor) -> float:
    """The largest norm of an image's difference, as a share of the norm of its map."""
    norms = (expected - maps).flatten(1).norm(dim=1), expected.flatten(1).norm(dim=1)
    return float((norms[0] / norms[1].clamp_min(1e-12)).max())


def _seconds(*calls: Callable[[], object]) -> list[float]:
    """Seconds of the fastest call of each, called in turn so that other load on the machine slows all alike."""
    rounds: list[list[float]] = []
    for _ in range(_ROUNDS):
        rounds.append([])
        for call in calls:
            start = time.perf_counter()
            call()
            rounds[-1].append(time.perf_counter() - start)
    return [min(seconds) for seconds in zip(*rounds, strict=True)]


def _convert(backbone: nn.Module, size: Size, graph: Path) -> None:
    """Write the graph of a backbone, with a dynamic batch size."""
    import openvino as ov
    from openvino.frontend import FrontEndManager
    from openvino.frontend.pytorch.ts_decoder import TorchScriptPythonDecoder

    example = torch.zeros(1, 3, *size, dtype=torch.uint8)
    with torch.no_grad(), warnings.catch_warnings():
        warnings.simplefilter("ignore")  # the tracer warns of constant sizes, which are intended here
        traced = torch.jit.trace(backbone, example, check_trace=False)
        # The frontend is called directly, since `openvino.convert_model` sends telemetry.
        frontend = FrontEndManager().load_by_framework("pytorch")
        decoder = TorchScriptPythonDecoder(traced, example_input=example)
        model = frontend.convert(frontend.load(decoder))
    model.reshape([-1, 3, *size])

    def write(part: Path) -> None:
        xml = part.with_suffix(".xml")
        ov.save_model(model, xml, compress_to_fp16=False)
        write_atomic(graph.with_suffix(".bin"), lambda target: xml.with_suffix(".bin").replace(target))
        xml.replace(part)

    write_atomic(graph, write)


def _key(backbone: TimmBackbone, size: Size, precision: str) -> str:
    """Name of a cached graph, by the weights, the size, the precision, the versions and the processor."""
    version = openvino_core()[1]
    machine = f"{platform.machine()} {_processor()} {torch.get_num_threads()} threads"
    versions = f"engine-{_FORMAT} {version} {torch.__version__}"
    parts = f"{versions} {backbone.name} {backbone.stage} {size} {precision} {machine}"
    digest = hashlib.sha256(parts.encode())
    add_weights(digest, backbone)
    return digest.hexdigest()[:32]


def add_weights(digest: Any, module: nn.Module) -> None:
    """Update a digest of hashlib with the names and bytes of a module's weights."""
    for name, tensor in module.state_dict().items():
        digest.update(name.encode())
        digest.update(tensor.cpu().contiguous().numpy().tobytes())


@cache
def _processor() -> str:
    """The model of the processor."""
    return str(openvino_core()[0].get_property("CPU", "FULL_DEVICE_NAME"))
