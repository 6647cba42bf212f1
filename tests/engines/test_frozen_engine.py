"""A frozen backbone in OpenVINO: the same maps, a verdict that is kept, and PyTorch wherever it does not fit."""

from __future__ import annotations

import copy
import json
from pathlib import Path

import numpy as np
import pytest
import torch

import tiny_runs
from labelwise.backbones import TimmBackbone
from labelwise.data.readers import read
from labelwise.engines import frozen_engine, runtimes
from labelwise.engines.frozen_engine import EAGER, engine_name, use_engine
from labelwise.errors import LabelwiseError
from labelwise.evaluation import evaluate
from labelwise.export.graph import exported_graph, write_graph
from labelwise.runs.config import Config, make_config
from labelwise.runs.files import read_json
from labelwise.training.fit import train
from labelwise.training.maps import stored_maps
from onnx_operators import share_operators

pytest.importorskip("openvino", reason="the extra openvino is not installed")
CPU = torch.device("cpu")


def frozen(engine: str) -> dict[str, object]:
    return {"name": "test_vit", "weights": "none", "freeze": True, "engine": engine}


def config(engine: str = "openvino", image_size: int = 64) -> Config:
    return make_config(tiny_runs.settings("digits:", image_size=image_size, backbone=frozen(engine)))


def backbone(name: str = "test_convnext", freeze: bool = True) -> TimmBackbone:
    with torch.random.fork_rng(devices=[]):
        torch.manual_seed(0)
        return TimmBackbone(name, "none", 64, freeze=freeze).eval()


@pytest.fixture(autouse=True)
def quick(monkeypatch: pytest.MonkeyPatch) -> None:
    """A small network is taken whatever it gains."""
    monkeypatch.setattr(frozen_engine, "QUICKER", float("inf"))
    share_operators()


@pytest.fixture
def own(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """A cache folder of one test."""
    monkeypatch.setenv("LABELWISE_CACHE", str(tmp_path / "cache"))
    return tmp_path / "cache" / "engines"


def chosen(
    net: TimmBackbone, settings: Config, images: int = 10_000, device: torch.device = CPU
) -> list[str]:
    said: list[str] = []
    use_engine(net, settings, images, device, said.append)
    return said


@pytest.mark.parametrize("name", ["test_convnext", "test_vit", "test_efficientnet"])
def test_maps_are_those_of_pytorch_for_every_size_of_batch(name: str) -> None:
    net, eager = backbone(name), backbone(name)
    (said,) = chosen(net, config())
    assert said.startswith("maps by OpenVINO ")
    for images in (1, 2, 5, 32):
        batch = torch.randint(0, 256, (images, 3, 64, 64), dtype=torch.uint8)
        with torch.no_grad():
            ours, theirs = net(batch), eager(batch)
        assert ours.shape == theirs.shape
        assert ours.dtype == torch.float32
        assert float((ours - theirs).abs().max()) <= 1e-4 * float(theirs.abs().max())
        assert torch.equal(ours, net(batch))


def test_a_graph_that_is_right_for_one_image_only_is_not_taken(own: Path) -> None:
    """Constants per channel after a mean, which OpenVINO 2026.4 takes by the number of the image."""
    net = backbone()
    features = net.net.forward_features
    scale, shift = torch.randn(2, net.out_channels, generator=torch.Generator().manual_seed(0))

    def gated(x: torch.Tensor) -> torch.Tensor:
        x = features(x)
        return x * (x.flatten(2).mean(2) * scale + 9 * shift)[:, :, None, None]

    net.net.forward_features = gated
    chosen(net, config())
    for images in (1, 2, 3, 8):
        batch = torch.randint(0, 256, (images, 3, 64, 64), dtype=torch.uint8)
        with torch.no_grad():
            ours, expected = net(batch), gated(net.normalise(batch))
        torch.testing.assert_close(ours, expected, rtol=0, atol=1e-4 * float(expected.abs().max()))


def test_what_it_does_not_take_is_pytorchs() -> None:
    net, eager = backbone(), backbone()
    chosen(net, config())
    assert net.engine is not None
    whole = torch.randint(0, 256, (2, 3, 96, 96), dtype=torch.uint8)
    with torch.no_grad():
        assert torch.equal(net(whole), eager(whole))
        assert torch.equal(net(whole[..., :64, :64] / 255), eager(whole[..., :64, :64] / 255))


def test_nothing_is_reported_to_anybody(own: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    telemetry = pytest.importorskip("openvino_telemetry")
    monkeypatch.setattr(telemetry.Telemetry, "__init__", lambda *_, **__: pytest.fail("telemetry was begun"))
    net = backbone()
    chosen(net, config())
    assert net.engine is not None
    program = exported_graph(torch.nn.ReLU(), torch.zeros(2, 3), "input")
    write_graph(program, "openvino", own)


def test_a_copy_of_the_model_computes_by_the_same_graph() -> None:
    net = backbone()
    chosen(net, config())
    assert copy.deepcopy(net).engine is net.engine


def test_the_second_run_converts_and_times_nothing(own: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    chosen(backbone(), config())
    monkeypatch.setattr(frozen_engine, "_convert", lambda *_: pytest.fail("converted again"))
    monkeypatch.setattr(frozen_engine, "_seconds", lambda *_: pytest.fail("timed again"))
    again = backbone()
    assert chosen(again, config()) == []
    assert engine_name(again).startswith("OpenVINO ")


def test_other_weights_and_sizes_have_other_graphs(own: Path) -> None:
    chosen(backbone(), config())
    changed = backbone()
    with torch.no_grad():
        next(changed.parameters()).add_(1)
    chosen(changed, config())
    chosen(backbone(), config(image_size=96))
    assert len(list(own.glob("*.xml"))) == 3


@pytest.mark.parametrize("content", ["{", None])
def test_a_damaged_verdict_or_graph_is_made_again(own: Path, content: str | None) -> None:
    chosen(backbone(), config())
    (verdict,), (graph,) = own.glob("*.json"), own.glob("*.xml")
    if content is None:
        graph.write_text("<net")
    else:
        verdict.write_text(content)
    net = backbone()
    assert len(chosen(net, config())) == 1
    assert net.engine is not None
    assert json.loads(verdict.read_text())["taken"]


@pytest.mark.parametrize(("name", "value", "phrase"), [("BOUND", -1, "differ"), ("QUICKER", 0, "as long")])
def test_an_engine_that_differs_or_is_slow_is_not_taken(
    own: Path, monkeypatch: pytest.MonkeyPatch, name: str, value: float, phrase: str
) -> None:
    monkeypatch.setattr(frozen_engine, name, value)
    net = backbone()
    (said,) = chosen(net, config())
    assert said.startswith("note: PyTorch computes the maps, not OpenVINO: ")
    assert phrase in said
    assert engine_name(net) == EAGER
    assert chosen(net, config()) == []  # the verdict stands
    assert engine_name(net) == EAGER


def test_a_network_that_cannot_be_converted_stays_with_pytorch(
    own: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    def fails(*_: object) -> None:
        raise RuntimeError("no such operation\nand a page of other words")

    monkeypatch.setattr(frozen_engine, "_convert", fails)
    net = backbone()
    assert chosen(net, config()) == [
        "note: PyTorch computes the maps, not OpenVINO: RuntimeError: no such operation"
    ]
    assert net.engine is None


def test_a_full_disk_is_no_verdict(own: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    def full(*_: object) -> None:
        raise LabelwiseError("a full disk", "free space", "free some")

    for name in ("_convert", "write_json"):
        with monkeypatch.context() as patch:
            patch.setattr(frozen_engine, name, full)
            said = chosen(backbone(), config())
            assert said == ["note: PyTorch computes the maps, not OpenVINO: a full disk"]
    net = backbone()
    chosen(net, config())
    assert net.engine is not None


def test_a_cache_that_cannot_be_written_leaves_pytorch(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    (tmp_path / "cache").write_bytes(b"a file, not a folder")
    monkeypatch.setenv("LABELWISE_CACHE", str(tmp_path / "cache"))
    net = backbone()
    (said,) = chosen(net, config())
    assert said.endswith(
        f"not OpenVINO: {tmp_path / 'cache' / 'engines'} could not be written (Not a directory)"
    )
    assert net.engine is None


def test_auto_takes_pytorch_for_few_images_and_for_backbones_that_learn(own: Path) -> None:
    few, learning, eager = backbone(), backbone(freeze=False).train(), backbone()
    assert chosen(few, config("auto"), 100) == chosen(learning, config("openvino")) == []
    assert chosen(eager, config("eager")) == []
    assert few.engine is learning.engine is eager.engine is None
    many = backbone()
    chosen(many, config("auto"))
    assert many.engine is not None


def test_a_backbone_that_learned_is_computed_by_it_until_it_learns_again(own: Path) -> None:
    net = backbone(freeze=False)
    chosen(net, config("openvino"))
    assert net.engine is not None
    batch = torch.randint(0, 256, (2, 3, 64, 64), dtype=torch.uint8)
    with torch.no_grad():
        maps = net(batch)
    assert net(batch).requires_grad  # PyTorch, since gradients are asked for
    torch.testing.assert_close(maps, net(batch).detach(), rtol=0, atol=1e-4 * float(maps.max()))
    net.train()
    assert net.engine is None


def test_both_sizes_of_test_time_are_computed_by_it(own: Path) -> None:
    settings = make_config(
        tiny_runs.settings("digits:", image_size=64, backbone=frozen("openvino"), test_time="multi-scale=96")
    )
    net, eager, said = backbone(), backbone(), list[str]()
    use_engine(net, settings, 10_000, CPU, said.append, views=True)
    assert len(said) == 2
    assert net.engine is not None
    for side in (64, 96):
        batch = torch.randint(0, 256, (3, 3, side, side), dtype=torch.uint8)
        assert net.engine.takes(batch)
        with torch.no_grad():
            expected = eager(batch)
            torch.testing.assert_close(net(batch), expected, rtol=0, atol=1e-4 * float(expected.abs().max()))


def test_bf16_is_requested_by_name_and_bounded(own: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    net = backbone()
    (said,) = chosen(net, config("openvino-bf16"))
    assert said.startswith("maps by OpenVINO ")
    if not engine_name(net).endswith(", bf16"):
        pytest.skip("this processor has no bf16")
    other = backbone()
    chosen(other, config("openvino"))
    assert not engine_name(other).endswith("bf16")
    monkeypatch.setattr(frozen_engine, "BOUND_BF16", -1)
    for file in own.glob("*.json"):
        file.unlink()
    net = backbone()
    refused, said = chosen(net, config("openvino-bf16"))
    assert refused.startswith("note: not OpenVINO in bf16: its maps differ by")
    assert refused.endswith("of their norm")
    assert said.startswith("maps by OpenVINO ")
    assert not engine_name(net).endswith("bf16")


def test_differences_are_shares_of_the_largest_value_and_of_each_map() -> None:
    expected = torch.tensor([[3.0, 4.0], [0.0, 10.0]]).view(2, 2, 1, 1)
    maps = torch.tensor([[3.0, 3.0], [0.0, 8.0]]).view(2, 2, 1, 1)
    assert frozen_engine._largest_difference(expected, maps) == pytest.approx(2 / 10)
    assert frozen_engine._norm_difference(expected, maps) == pytest.approx(max(1 / 5, 2 / 10))
    assert np.isnan(frozen_engine._norm_difference(expected * float("nan"), maps))


def test_without_openvino(own: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    for module in (frozen_engine, runtimes):
        monkeypatch.setattr(module, "find_spec", lambda name: None)
    frozen_engine.openvino_core.cache_clear()
    net = backbone()
    (said,) = chosen(net, config("auto"))
    assert "pip install 'labelwise[openvino]'" in said
    assert net.engine is None
    with pytest.raises(LabelwiseError, match=r"OpenVINO, which is not installed; .* run: pip install"):
        chosen(net, config("openvino"))


def test_openvino_on_a_gpu_is_refused() -> None:
    with pytest.raises(
        LabelwiseError, match=r"backbone.engine = openvino on cuda; .* set backbone.engine=auto"
    ):
        chosen(backbone(), config(), device=torch.device("cuda"))
    net = backbone()
    assert chosen(net, config("auto"), device=torch.device("cuda")) == []
    assert net.engine is None


def test_maps_of_two_engines_are_stored_apart(own: Path, tmp_path: Path) -> None:
    data = read(f"csv:{tiny_runs.photographs(tmp_path / 'photos', 12, 0, 0)}")
    net, eager, said = backbone(), backbone(), list[str]()
    chosen(net, config())
    ours, _ = stored_maps(data, net, config(), CPU, 0, said.append)
    theirs, _ = stored_maps(data, eager, config(), CPU, 0, said.append)
    assert len(said) == 2  # computed twice
    assert np.abs(np.asarray(ours, float) - np.asarray(theirs, float)).max() <= 2**-9 * float(
        np.abs(np.asarray(theirs)).max()
    )


def test_a_run_names_its_engine_repeats_its_bytes_and_is_judged_by_it(own: Path, tmp_path: Path) -> None:
    table = tiny_runs.photographs(tmp_path / "photos", 16, 8, 8)
    settings = tiny_runs.settings(f"csv:{table}", image_size=64, backbone=frozen("openvino"))
    runs = [train(make_config(settings), tmp_path / name, quiet=True) for name in ("a", "b")]
    weights = [(run.path / "model.safetensors").read_bytes() for run in runs]
    assert weights[0] == weights[1]
    conditions = read_json(runs[0].path / "results.json")["splits"]["test"]["conditions"]
    assert conditions["engine"].startswith("OpenVINO ")
    judged = evaluate(runs[0], read(f"csv:{table}"), "test")
    assert judged.conditions["engine"] == conditions["engine"]
    plain = train(make_config({**settings, "backbone": frozen("eager")}), tmp_path / "c", quiet=True)
    assert read_json(plain.path / "results.json")["splits"]["test"]["conditions"]["engine"] == EAGER
