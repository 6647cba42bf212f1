"""Teacher runs: their outputs are those of whole images, training resumes with them, and errors are reported."""

from __future__ import annotations

import json
import os
import shutil
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from torch import distributed as dist

import labelwise as lw
import partial_batches
import tiny_runs
from labelwise.continual.run import learn_stream
from labelwise.errors import LabelwiseError, Stopped
from labelwise.runs.config import make_config
from labelwise.runs.run import WEIGHTS, Run
from labelwise.runs.sections import TeacherSettings
from labelwise.taught import TeacherBatch
from labelwise.terms.teacher import TeacherTerm
from labelwise.training import maps as maps_module
from labelwise.training.checkpoint import STATE, load_state
from labelwise.training.fit import train
from labelwise.training.loop import Trainer
from labelwise.training.resuming import record_of
from labelwise.training.stopping import StopRequest
from labelwise.training.teaching import Teacher, TeacherOutputs
from labelwise.types import Batch, LabelSet, Targets
from small_trainers import a_trainer

CPU = torch.device("cpu")
COLOURS = tuple(tiny_runs.COLOURS)
BACKWARDS = LabelSet(COLOURS[::-1])


def a_teacher(folder: Path, labels: LabelSet = BACKWARDS, **changes: Any) -> Path:
    """A run at 48 pixels whose weights were never trained, by default with its labels in another order."""
    changes.setdefault("backbone", {"name": "test_resnet", "weights": "none"})
    changes = {"method": "dlfl", "image_size": 48, "extractor": {"dim": 24, "ffn": 0}, **changes}
    run = Run(folder, make_config(tiny_runs.settings("csv:none.csv", **changes)), labels)
    run.save()
    torch.manual_seed(5)
    run.save_weights(run.build().model)
    return folder


@pytest.fixture
def photos(tmp_path: Path) -> Path:
    """A table of 12, 4 and 5 photographs of three colours."""
    return tiny_runs.photographs(tmp_path / "photos")


def student(photos: Path, teacher: Any, **changes: Any) -> dict[str, Any]:
    """Settings of a student at 32 pixels."""
    base: dict[str, Any] = {"method": "dlfl", "batch_size": 4, "teacher": teacher}
    return tiny_runs.settings(f"csv:{photos}", **{**base, **changes})


def opened(folder: Path, **options: Any) -> Teacher:
    options = {"features": 1.0, **options}
    teacher = Teacher.of(TeacherSettings(run=str(folder), **options), LabelSet(COLOURS))
    assert teacher is not None
    return teacher


@pytest.mark.parametrize("freeze", [False, True])
def test_answers_are_those_of_the_whole_photographs(
    tmp_path: Path, photos: Path, monkeypatch: pytest.MonkeyPatch, freeze: bool
) -> None:
    backbone = {"name": "test_resnet", "weights": "none", "freeze": freeze}
    teacher = opened(a_teacher(tmp_path / "teacher", backbone=backbone))
    data, said = lw.read(f"csv:{photos}").split("train"), list[str]()
    answers = teacher.answers(data, CPU, 0, said.append)
    assert [line for line in said if "teacher" in line] == [
        "computing the teacher's answers to 12 images once"
    ]
    assert answers.stored.dtype == np.float16
    assert answers.stored.shape == (12, 3, 25)
    rows = [7, 0, 11]
    values, known = (torch.from_numpy(a[rows]) for a in (data.values.astype(np.float32), data.known.copy()))
    known[0, 1] = False
    batch = answers.of(Batch(torch.zeros(3, 1), Targets(values, known), torch.tensor(rows)))
    model, taught = teacher.run.model(), batch.taught
    transform = lw.data.transforms.build_transform(teacher.run.config.transform(), train=False)
    assert taught is not None
    assert taught.seen.all()
    assert taught.features is not None
    for place, row in enumerate(rows):
        image = transform(data[row].image)
        assert image.shape == (3, 48, 48)
        with torch.no_grad():
            out = model(image[None])
        for own, name in enumerate(COLOURS):
            there = BACKWARDS.index(name)
            z, f = out.logits[0, there], out.decoupled[0, there]
            assert taught.logits[place, own].item() == pytest.approx(z.item(), abs=2e-3)
            torch.testing.assert_close(taught.features[place, own], f / f.norm(), rtol=0, atol=2e-3)
            score = torch.sigmoid(z).item()
            weight = values[place, own].item() if known[place, own] else score
            assert taught.weights[place, own].item() == pytest.approx(weight, abs=1e-3)
    monkeypatch.setattr(Teacher, "_compute", lambda *_: pytest.fail("computed again"))
    again = opened(tmp_path / "teacher").answers(data, CPU, 0, said.append)
    assert np.array_equal(again.stored, answers.stored)
    narrow = opened(tmp_path / "teacher", features=0.0)
    monkeypatch.undo()
    assert narrow.answers(data, CPU, 0, said.append).stored.shape == (12, 3, 1)


def test_photographs_that_cannot_be_read_teach_nothing(tmp_path: Path, photos: Path) -> None:
    for row in (2, 5):
        (photos.parent / f"train{row}.jpg").write_bytes(b"")
    for name, freeze in (("whole", False), ("maps", True)):
        backbone = {"name": "test_resnet", "weights": "none", "freeze": freeze}
        teacher = opened(a_teacher(tmp_path / name, backbone=backbone))
        answers = teacher.answers(lw.read(f"csv:{photos}").split("train"), CPU, 0, lambda line: None)
        assert answers.unread == {2, 5}
        batch = Batch(torch.zeros(2, 1), Targets.of(torch.ones(2, 3)), torch.tensor([2, 3]))
        taught = answers.of(batch).taught
        assert taught is not None
        assert taught.seen.tolist() == [False, True]
        assert taught.weights.sum(1).tolist() == [0, 3]
    filling = Batch(torch.zeros(1, 1), batch.targets[:1], torch.tensor([4]), unreadable=((4, "gone"),))
    taught = answers.of(filling).taught
    assert taught is not None
    assert not taught.seen.any()


def test_a_student_learns_and_stands_without_its_teacher(tmp_path: Path, photos: Path) -> None:
    teacher = a_teacher(tmp_path / "teacher")
    before, wide = (teacher / WEIGHTS).read_bytes(), ("--set", "teacher.features=1")
    arguments = ["train", "--data", f"csv:{photos}", "--method", "dlfl", *tiny_runs.TINY]
    taught = tiny_runs.command(
        *arguments, "--out", tmp_path / "taught", "--teacher", teacher, *wide, "--no-report"
    )
    assert taught.code == 0, taught.err
    assert "note: the teacher" in taught.err
    assert "computing the teacher's answers to 12 images once" in taught.err
    assert tiny_runs.command(*arguments, "--out", tmp_path / "alone", "--no-report").code == 0
    assert (teacher / WEIGHTS).read_bytes() == before
    weights = [(tmp_path / name / WEIGHTS).read_bytes() for name in ("taught", "alone")]
    assert weights[0] != weights[1]
    assert len(weights[0]) == len(weights[1])  # the map is no part of the model
    run = Run.open(tmp_path / "taught")
    lines = [json.loads(line) for line in (run.path / "metrics.jsonl").read_text().splitlines()]
    assert all(
        {"teacher_logits", "teacher_features"} <= set(line) for line in lines if line["kind"] == "step"
    )
    recorded = json.loads((run.path / "results.json").read_text())["training"]["teacher"]
    assert recorded == run.config.teacher.model_dump()
    assert recorded["digest"] == opened(teacher).settings.digest != ""
    state = load_state(run.path / STATE)[1]["method"]
    assert state["terms.teacher.map.weight"].shape == (24, 16)
    shutil.rmtree(teacher)
    assert tiny_runs.command("evaluate", run.path, "--split", "test").code == 0
    assert len(list(lw.load(run.path).predict([photos.parent / "test0.jpg"]))) == 1
    assert "teacher" not in run.build("none").terms


@pytest.mark.parametrize(
    "changes",
    [
        {
            "backbone": {"name": "test_resnet", "weights": "none", "freeze": True},
            "teacher": {"features": 0.5},
        },
        {"optim": {"accumulate": 2}, "cutmix": 1.0},
    ],
    ids=["frozen", "accumulate-cutmix"],
)
@pytest.mark.usefixtures("unjudged")
def test_a_resumed_run_ends_in_the_same_bytes(
    tmp_path: Path, photos: Path, monkeypatch: pytest.MonkeyPatch, changes: dict[str, Any]
) -> None:
    teacher = {"run": str(a_teacher(tmp_path / "teacher")), **changes.pop("teacher", {})}
    config = make_config(student(photos, teacher, **changes))
    train(config, tmp_path / "whole", quiet=True)
    stop, honest = StopRequest(), Trainer._step

    def step(self: Trainer, batches: Any) -> Any:
        outcome = honest(self, batches)
        if self.progress.step + 1 == 2:
            stop.by = "a test"
        return outcome

    out = tmp_path / "stopped"
    with monkeypatch.context() as patch:
        patch.setattr(Trainer, "_step", step)
        with pytest.raises(Stopped):
            train(config, out, quiet=True, stop=stop)
    shutil.rmtree(lw.data.cache.cache_folder() / "teachers")  # recomputed outputs are the same
    train(config, out, quiet=True, resume=True)
    assert (out / WEIGHTS).read_bytes() == (tmp_path / "whole" / WEIGHTS).read_bytes()
    other = a_teacher(tmp_path / "other", image_size=64)
    shutil.copytree(other, tmp_path / "teacher", dirs_exist_ok=True)
    begun = make_config({**config.model_dump(), "teacher": Run.open(out).config.teacher})
    with pytest.raises(
        LabelwiseError, match=r"that changed .*; expected the teacher that training began with"
    ):
        train(begun, out, quiet=True, resume=True)
    with pytest.raises(LabelwiseError, match=r"--resume with another teacher\.digest"):
        train(config, out, quiet=True, resume=True)


# A step of several batches and processes.


def parts_of_a_step(seed: int) -> list[Batch]:
    """Two taught batches, of 8 and of 4 images, whose weights are unlike."""
    g, batches = torch.Generator().manual_seed(seed), []
    labels = partial_batches.LABELS
    for first, rows in ((0, 8), (8, 4)):
        images = torch.randn(rows, partial_batches.CHANNELS, 3, 4, generator=g, dtype=torch.float64)
        targets = Targets((torch.rand(rows, labels, generator=g) < 0.3).float(), torch.ones(rows, labels) > 0)
        z, f = (torch.randn(rows, labels, *w, generator=g, dtype=torch.float64) for w in ((), (11,)))
        seen = torch.rand(rows, generator=g) < 0.8
        weights = torch.rand(rows, labels, generator=g, dtype=torch.float64) * seen[:, None]
        taught = TeacherBatch(z, torch.nn.functional.normalize(f, dim=2), weights, seen)
        batches.append(Batch(images, targets, torch.arange(first, first + rows), taught=taught))
    return batches


def rows_of(batches: list[Batch], rank: int = 0, world: int = 1) -> Batch:
    """Their rows in one batch; of two processes the first has one in four."""
    t = [b.taught for b in batches if b.taught is not None]
    edge = sum(len(b.index) for b in batches) // 4
    rows = slice(None) if world == 1 else (slice(0, edge), slice(edge, None))[rank]

    def joined(of: list[torch.Tensor | None]) -> Any:
        return torch.cat([one for one in of if one is not None])[rows]

    targets = Targets(*(joined([getattr(b.targets, n) for b in batches]) for n in ("values", "known")))
    taught = TeacherBatch(
        *(joined([getattr(a, n) for a in t]) for n in ("logits", "features", "weights", "seen"))
    )
    return Batch(
        joined([b.images for b in batches]), targets, joined([b.index for b in batches]), taught=taught
    )


def weights_after(folder: Path, accumulate: int, rank: int = 0, world: int = 1) -> dict[str, torch.Tensor]:
    optim = {"name": "sgd", "lr": 0.3, "clip_norm": 0, "accumulate": accumulate, "schedule": "constant"}
    batches: list[Batch] = []
    for step in range(3):
        parts = parts_of_a_step(step)
        batches += [rows_of([p], rank, world) for p in parts] if accumulate > 1 else [rows_of(parts)]
    method = partial_batches.build()
    method.terms["teacher"] = TeacherTerm(8, 11, 1.0, 1.0, 2.0)
    trainer = a_trainer(folder, batches, method.double().train(), optim=optim, ema=0.0)
    stream = iter(batches)
    for _ in range(3):
        trainer._step(stream)
        trainer.progress.step += 1
    return {name: p.detach() for name, p in trainer.method.named_parameters()}


def test_an_accumulated_step_is_that_of_the_joined_batch(tmp_path: Path) -> None:
    one, two = (weights_after(tmp_path / str(n), n) for n in (1, 2))
    assert one.keys() == two.keys()
    for name, value in one.items():
        torch.testing.assert_close(two[name], value, atol=1e-9, rtol=0)


def _over_processes(folder: str) -> None:
    rank = int(os.environ["RANK"])
    torch.save(weights_after(Path(folder) / f"run{rank}", 2, rank, 2), f"{folder}/{rank}.pt")
    dist.destroy_process_group()


def test_it_is_so_over_two_processes(tmp_path: Path) -> None:
    tiny_runs.together(2, _over_processes, str(tmp_path))
    one = weights_after(tmp_path / "one", 1)
    for rank in (0, 1):
        for name, value in torch.load(tmp_path / f"{rank}.pt").items():
            torch.testing.assert_close(value, one[name], atol=1e-9, rtol=0)


def _train_taught(config: Any, out: str) -> None:
    os.environ["LABELWISE_CACHE"] = f"{out}/cache"
    train(config, Path(out) / "two", quiet=True)


@pytest.mark.usefixtures("unjudged")
def test_two_processes_learn_from_one_store(
    tmp_path: Path, photos: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("LABELWISE_CACHE", str(tmp_path / "cache"))
    teacher = str(a_teacher(tmp_path / "teacher", backbone={"name": "test_convnext", "weights": "none"}))
    taught_by = {"run": teacher, "features": 1.0}
    settings = student(photos, taught_by, epochs=1, augment={"flip": 0.0, "multi_scale": []})
    settings["extractor"] |= {"dropout": 0.0, "map_dropout": 0.0}
    config = make_config(settings)
    tiny_runs.together(2, _train_taught, config, str(tmp_path))
    train(config, tmp_path / "one", quiet=True)
    curves = []
    for name in ("one", "two"):
        lines = [json.loads(line) for line in (tmp_path / name / "metrics.jsonl").read_text().splitlines()]
        curves.append([line["loss"] for line in lines if line["kind"] == "step"])
    np.testing.assert_allclose(curves[1], curves[0], atol=1e-4, rtol=0)
    assert len(list((tmp_path / "cache" / "teachers").glob("*.npy"))) == 1


# What is refused.


@pytest.mark.parametrize(
    ("changes", "says"),
    [
        (
            {"teacher": "nowhere"},
            "nowhere holds no config.yaml; expected the folder that `labelwise train --out`",
        ),
        (
            {"teacher": "unfinished"},
            "unfinished holds no model.safetensors; expected a run with an epoch done",
        ),
        ({"teacher": "damaged"}, "the weights of these settings"),
        (
            {"teacher": "other"},
            "with other labels (lacking: blue; extra: grey); expected the labels of the data",
        ),
        (
            {"teacher": "pooled"},
            "teacher.features of the teacher pooled, a baseline-gap with pooled features",
        ),
        (
            {"method": "baseline-mlp", "extractor": {}},
            "teacher.features for baseline-mlp with pooled features",
        ),
        ({"mixup": 0.2}, "teacher.features = 1 with mixup=0.2; expected images that are not combined"),
        (
            {"teacher": {"run": "good", "logits": 0, "features": 0}},
            "--teacher good with teacher.logits = 0 and ",
        ),
        (
            {"teacher": {"features": 0.5}},
            "teacher.features = 0.5 without teacher.run; expected a run to learn from",
        ),
        ({"teacher": {"run": "good", "temperature": 0}}, "teacher.temperature = 0; expected "),
    ],
)
def test_what_is_refused(
    tmp_path: Path, photos: Path, monkeypatch: pytest.MonkeyPatch, changes: dict[str, Any], says: str
) -> None:
    monkeypatch.chdir(tmp_path)
    a_teacher(Path("good"))
    named = changes.get("teacher", "good")
    whole = named if isinstance(named, dict) else {"run": named, "features": 1}
    if named == "unfinished":
        (a_teacher(Path("unfinished")) / WEIGHTS).unlink()
    elif named == "damaged":
        weights = a_teacher(Path("damaged")) / WEIGHTS
        content = bytearray(weights.read_bytes())
        content[-9] ^= 1
        weights.write_bytes(content)
    elif named == "other":
        a_teacher(Path("other"), LabelSet(("red", "green", "grey")))
    elif named == "pooled":
        a_teacher(Path("pooled"), method="baseline-gap", extractor={})
    with pytest.raises(LabelwiseError) as error:
        train(make_config(student(photos, **{**changes, "teacher": whole})), tmp_path / "run", quiet=True)
    assert says in str(error.value)
    assert not (tmp_path / "run" / WEIGHTS).exists()


@pytest.mark.usefixtures("unjudged")
def test_a_shared_feature_may_teach_its_scores(tmp_path: Path, photos: Path) -> None:
    teacher = str(a_teacher(tmp_path / "pooled", method="baseline-gap", extractor={}))
    config = student(photos, {"run": teacher, "features": 0.0}, method="baseline-mlp", epochs=1, extractor={})
    assert train(make_config(config), tmp_path / "run", quiet=True).path.is_dir()


def test_a_stream_has_no_teacher(tmp_path: Path, photos: Path) -> None:
    with pytest.raises(LabelwiseError, match="--teacher good with a stream; "):
        learn_stream(make_config(student(photos, "good")), tmp_path / "run")


@pytest.mark.usefixtures("unjudged")
def test_a_teacher_of_the_same_rows_has_no_note(tmp_path: Path, photos: Path) -> None:
    config = make_config(student(photos, "", epochs=1))
    run = train(config, tmp_path / "run", quiet=True)
    data = lw.read(f"csv:{photos}")
    same = record_of(config, data.split("train"), data.split("val"))["data"]
    teacher = opened(run.path)
    assert list(teacher.doubts(same)) == []
    (note,) = teacher.doubts(same[::-1])
    assert "learned from another table or other splits than these" in note


def test_answers_that_are_not_numbers(tmp_path: Path, photos: Path) -> None:
    folder = a_teacher(tmp_path / "teacher")
    run = Run.open(folder)
    model = run.model()
    with torch.no_grad():
        for p in model.extractor.parameters():
            p.fill_(float("nan"))
    run.save_weights(model)
    with pytest.raises(LabelwiseError, match="with answers that are not finite; "):
        opened(folder).answers(lw.read(f"csv:{photos}").split("train"), CPU, 0, lambda line: None)
    assert not list((maps_module.cache_folder() / "teachers").glob("*.npy"))


def test_answers_are_looked_up_from_a_mapped_file(tmp_path: Path, photos: Path) -> None:
    answers = opened(a_teacher(tmp_path / "t")).answers(lw.read(f"csv:{photos}"), CPU, 0, lambda line: None)
    assert isinstance(answers, TeacherOutputs)
    assert isinstance(answers.stored, np.memmap)
