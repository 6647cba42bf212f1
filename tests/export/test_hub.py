"""Models of the hub, with local folders."""

from __future__ import annotations

import json
from pathlib import Path

import pytest
import torch

import labelwise as lw
import tiny_runs
from labelwise.errors import LabelwiseError
from labelwise.export import hub


@pytest.fixture(scope="module")
def saved(run_folder: Path, tmp_path_factory: pytest.TempPathFactory) -> Path:
    """The finished run, saved as for the hub."""
    out = tmp_path_factory.mktemp("hub") / "model"
    lw.HubModel.from_run(run_folder).save_pretrained(out)
    return out


def test_config_has_the_entries_of_the_hub(saved: Path) -> None:
    config = json.loads((saved / "config.json").read_text())
    assert config["problem_type"] == "multi_label_classification"
    assert config["id2label"] == {str(j): str(j) for j in range(10)}
    assert config["label2id"] == {str(j): j for j in range(10)}
    assert sorted(p.name for p in saved.iterdir()) == [
        "README.md", "artefact.json", "checksums.json", "config.json", "model.safetensors"
    ]  # fmt: skip
    card = (saved / "README.md").read_text()
    assert "library_name: labelwise" in card
    assert "pipeline_tag: image-classification" in card
    assert "multi-label-image-classification" in card


def test_saved_and_read_back_is_equal(saved: Path, run_folder: Path, tmp_path: Path) -> None:
    images = torch.randint(0, 256, (3, 3, 32, 32), dtype=torch.uint8)
    model, first = lw.HubModel.from_pretrained(saved), lw.HubModel.from_run(run_folder)
    assert model.config.id2label[3] == "3"
    assert model.config.problem_type == "multi_label_classification"
    assert not model.training
    with torch.no_grad():
        assert torch.equal(model(images).logits, first(images).logits)
        model.model.classifier.bias[0] = 5.0  # weights that were trained further are the ones that are saved
        expected = model(images).logits
        model.save_pretrained(tmp_path / "again")
        again = lw.HubModel.from_pretrained(tmp_path / "again")
        assert torch.equal(again(images).logits, expected)
    assert again.labels == model.labels
    assert again.decisions.to_json(again.labels.names) == first.decisions.to_json(first.labels.names)


def test_a_saved_folder_is_loaded_and_knows_no_machine(saved: Path, run_folder: Path, tmp_path: Path) -> None:
    tiny_runs.photographs(tmp_path, 3, 0, 0)
    photos = [str(tmp_path / f"train{i}.jpg") for i in range(3)]
    ours, theirs = (list(lw.load(p).predict(photos, maps=True)) for p in (run_folder, saved))
    assert [a.scores for a in ours] == [a.scores for a in theirs]
    assert str(run_folder.parent) not in (saved / "artefact.json").read_text()


def test_it_is_pushed_as_it_is_saved(
    run_folder: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """The hub's client is called to upload one folder, without a network."""
    from huggingface_hub import HfApi

    sent: dict[str, list[str]] = {}

    def create_repo(self, repo_id: str, **_: object):
        return type("Made", (), {"repo_id": repo_id})

    def upload_folder(self, *, repo_id: str, folder_path: Path, **_: object) -> str:
        sent[repo_id] = sorted(p.name for p in Path(folder_path).iterdir())
        return "done"

    monkeypatch.setattr(HfApi, "create_repo", create_repo)
    monkeypatch.setattr(HfApi, "upload_folder", upload_folder)
    assert lw.HubModel.from_run(run_folder).push_to_hub("me/scenes") == "done"
    assert set(sent["me/scenes"]) >= {"artefact.json", "config.json", "model.safetensors", "README.md"}


def test_a_hub_id_is_fetched_once(saved: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(hub, "snapshot_download", lambda name, **_: {"me/scenes": str(saved)}[name])
    assert lw.load("me/scenes").labels.names == tuple(map(str, range(10)))


@pytest.mark.parametrize("name", ["runs/mine/deeper", "me/not there", "../up"])
def test_what_is_no_folder_and_no_id_is_refused(name: str) -> None:
    with pytest.raises(
        LabelwiseError, match=r"which is no folder; expected a run, an exported folder, or OWNER"
    ):
        lw.load(name)


def test_an_unreachable_hub_is_reported(monkeypatch: pytest.MonkeyPatch) -> None:
    def unreachable(name: str, **_: object) -> str:
        raise ConnectionError("no route")

    monkeypatch.setattr(hub, "snapshot_download", unreachable)
    message = r"me/scenes, which is no folder here and could not be fetched \(no route\); expected a run"
    with pytest.raises(LabelwiseError, match=message):
        lw.load("me/scenes")


def test_a_graph_is_no_module() -> None:
    version_1 = Path(__file__).parent / "version1"
    with pytest.raises(
        LabelwiseError, match=r"a graph \(onnx\); expected weights; open it with labelwise.load"
    ):
        lw.HubModel.from_pretrained(version_1)
