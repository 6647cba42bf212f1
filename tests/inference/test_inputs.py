"""Input images: one or several, in every supported form, and refused objects."""

from __future__ import annotations

import io
import json
from pathlib import Path

import numpy as np
import PIL.Image
import pytest
import torch

import labelwise as lw
import tiny_runs
from labelwise.errors import LabelwiseError
from labelwise.export.artefact import Artefact, Preprocessing
from labelwise.export.bench import preprocessing
from labelwise.export.engines import Eager
from labelwise.export.photographs import readable
from labelwise.inference import Predictor
from labelwise.runs.config import make_config
from labelwise.runs.run import Run
from tiny_runs import command


@pytest.fixture(scope="module")
def predictor(run_folder: Path) -> Predictor:
    """The finished run, loaded."""
    return lw.load(run_folder)


@pytest.fixture
def photo(tmp_path: Path) -> Path:
    """A photograph stored lying on its side, without loss."""
    exif = PIL.Image.Exif()
    exif[274] = 6
    y, x = np.mgrid[0:40, 0:60]
    picture = PIL.Image.fromarray(np.stack([x * 4, y * 6, (x + y) * 2], -1).astype(np.uint8))
    picture.save(tmp_path / "a.png", exif=exif)
    return tmp_path / "a.png"


def test_every_form_of_an_image_has_the_same_answer_alone_and_in_a_list(
    predictor: Predictor, photo: Path
) -> None:
    tensor = lw.data.decode_image(photo)
    array = tensor.permute(1, 2, 0).numpy()
    opaque = np.concatenate([array, np.full_like(array[..., :1], 255)], -1)
    (expected,) = predictor.predict([photo])
    forms = [
        str(photo),
        photo,
        photo.read_bytes(),
        bytearray(photo.read_bytes()),
        memoryview(photo.read_bytes()),
        PIL.Image.open(photo),
        array,
        array.astype(np.uint16) * 257,
        opaque,
        PIL.Image.fromarray(opaque),
        tensor,
    ]
    for form in forms:
        for given in (form, [form], (form,), iter([form])):
            (answer,) = predictor.predict(given)
            assert answer.scores == pytest.approx(expected.scores, abs=1e-6), type(form)
            assert answer.image == (str(photo) if isinstance(form, str | Path) else "")
    assert [a.scores for a in predictor.predict(forms, batch_size=4, workers=1)] == [
        a.scores for a in predictor.predict(forms, batch_size=4)
    ]


def test_grey_is_read_as_its_file_is(predictor: Predictor, tmp_path: Path) -> None:
    grey = np.random.default_rng(0).integers(0, 256, (33, 47)).astype(np.uint8)
    PIL.Image.fromarray(grey).save(tmp_path / "grey.png")
    (expected,) = predictor.predict(str(tmp_path / "grey.png"))
    for form in (grey, grey[..., None], PIL.Image.fromarray(grey), grey.astype(np.uint16) * 257):
        (answer,) = predictor.predict(form)
        assert answer.scores == expected.scores


def test_four_dimensions_are_several_images(predictor: Predictor) -> None:
    batch = np.random.default_rng(0).integers(0, 256, (3, 20, 30, 3)).astype(np.uint8)
    alone = [next(iter(predictor.predict(image))).scores for image in batch]
    for given in (batch, torch.from_numpy(batch).permute(0, 3, 1, 2)):
        for one, answer in zip(alone, predictor.predict(given), strict=True):
            assert answer.scores == pytest.approx(one, abs=1e-5)


def test_names_in_an_array_are_names(predictor: Predictor, photo: Path) -> None:
    (expected,) = predictor.predict(photo)
    for given in (np.array([str(photo)]), np.array([photo], dtype=object)):
        (answer,) = predictor.predict(given)
        assert (answer.image, answer.scores) == (str(photo), expected.scores)
    assert list(predictor.predict([])) == []


@pytest.mark.parametrize(
    ("given", "message"),
    [
        (7, "images given as int; expected paths, bytes of image files, PIL images"),
        (None, "images given as NoneType; "),
        ({"a": "a.jpg"}, "images given as dict; .* give its values"),
        (io.BytesIO(b"x"), r"images given as BytesIO; .* give its bytes: file.read\(\)"),
        (["a.jpg", None], "image 1 given as NoneType; "),
        ([["a.jpg"]], "image 0 given as list; "),
        (np.zeros((4, 5, 3)), r"an array of float64 \[4, 5, 3\]; .*255 \* array"),
        (np.zeros((3, 40, 50), np.uint8), r"array.transpose\(1, 2, 0\)"),
        (torch.zeros(3, 4, 5), r"a tensor of float32 \[3, 4, 5\]; expected uint8"),
        (["a.jpg", torch.zeros(4, 5, 3, dtype=torch.uint8)], r"image.permute\(2, 0, 1\)"),
    ],
)
def test_other_objects_are_refused_at_once(predictor: Predictor, given: object, message: str) -> None:
    with pytest.raises(LabelwiseError, match=message):
        predictor.predict(given)  # type: ignore[arg-type]


def test_a_sample_is_refused_with_what_to_give(predictor: Predictor, table: Path) -> None:
    sample = lw.read(f"parquet:{table}")[0]
    with pytest.raises(LabelwiseError, match=r"image 0 given as Sample; .* give its \.image"):
        predictor.predict([sample])  # type: ignore[list-item]


def test_a_pil_image_whose_file_is_damaged_is_an_unreadable_image(predictor: Predictor, photo: Path) -> None:
    noise = np.random.default_rng(0).integers(0, 256, (40, 50, 3)).astype(np.uint8)
    whole = io.BytesIO()
    PIL.Image.fromarray(noise).save(whole, "PNG")
    cut = PIL.Image.open(io.BytesIO(whole.getvalue()[:3000]))
    answers = list(predictor.predict([cut, str(photo)]))
    assert "PIL image that cannot be loaded" in str(answers[0].error)
    assert answers[1].error is None


# 12 bits in 16


@pytest.fixture
def dark(tmp_path: Path) -> Path:
    """Three photographs of a 12-bit camera in 16-bit files, and one of 8 bits."""
    folder = tmp_path / "dark"
    folder.mkdir()
    for i in range(3):
        grey = np.random.default_rng(i).integers(0, 4096, (30, 40)).astype(np.uint16)
        grey[0, 0] = 4095
        PIL.Image.fromarray(grey).save(folder / f"{i}.{'tif' if i == 1 else 'png'}")
    PIL.Image.new("L", (9, 9), 200).save(folder / "plain.png")
    return folder


def lines(text: str) -> list[dict]:
    return [json.loads(line) for line in text.splitlines()]


def test_predict_warns_once_and_uses_the_bits(run_folder: Path, dark: Path, tmp_path: Path) -> None:
    arguments = ("predict", run_folder, dark, "--json", "--workers", "0")
    outcome = command(*arguments)
    assert outcome.err.count("nearly black") == 1
    assert "0.png holds 16-bit grey of 4,095 at most" in outcome.err
    assert "(predict --bits 12; train --set augment.bits=12). So are 2 more." in outcome.err
    assert ["note" in line for line in lines(outcome.out)] == [True, True, True, False]
    with_bits = command(*arguments, "--bits", "12")
    assert (with_bits.code, "black" in with_bits.err) == (0, False)
    plain, scaled = lines(outcome.out), lines(with_bits.out)
    assert plain[0]["labels"] != scaled[0]["labels"]
    assert plain[3] == scaled[3]
    bright = tmp_path / "bright.png"
    array = np.asarray(PIL.Image.open(dark / "0.png")).astype(np.int64)
    PIL.Image.fromarray(((array * 255 + 2047) // 4095).astype(np.uint8)).save(bright)
    (expected,) = lines(command("predict", run_folder, bright, "--json", "--workers", "0").out)
    scores = [{label["name"]: label["score"] for label in one["labels"]} for one in (expected, scaled[0])]
    assert scores[0] == pytest.approx(scores[1], abs=1e-6)
    few = command(*arguments, "--bits", "10")
    assert (few.code, "at most 1,023, as 10 bits hold" in lines(few.out)[0]["error"]) == (1, True)


def test_a_folder_of_parts_warns_and_stores_the_bits(run_folder: Path, dark: Path, tmp_path: Path) -> None:
    arguments = ("predict", run_folder, dark, "--out", tmp_path / "parts", "--workers", "0")
    outcome = command(*arguments)
    assert (outcome.code, outcome.err.count("nearly black")) == (0, 1)
    assert "of another model" in command(*arguments, "--bits", "12").message


def test_a_run_keeps_its_bits_in_training_predictions_and_exports(dark: Path, tmp_path: Path) -> None:
    names = ["0.png", "1.tif", "2.png", "plain.png"]
    rows = [f"{name},{i % 2},{'train' if i < 2 else 'val'}" for i, name in enumerate(names)]
    (dark / "labels.csv").write_text("image,dog,split\n" + "\n".join(rows) + "\n")
    settings = tiny_runs.settings(f"csv:{dark / 'labels.csv'}", epochs=1, batch_size=2)
    said = command(
        "train", "--data", f"csv:{dark / 'labels.csv'}", "--out", tmp_path / "plain", *tiny_runs.TINY
    )
    assert "warning: Image" in said.err + said.out
    assert "nearly black" in said.err + said.out
    run = lw.fit(**_fit_arguments(settings), out=tmp_path / "run", quiet=True, augment={"bits": 12})
    assert Run.open(run.path).config.transform().bits == 12
    predictor = lw.load(run.path)
    (answer,) = predictor.predict(dark / "0.png")
    assert answer.note == ""
    (other,) = predictor.with_bits(16).predict(dark / "0.png")
    assert "nearly black" in other.note
    prepared = preprocessing(run, Eager(run.model(), "cpu"))
    assert Preprocessing.from_json(json.loads(json.dumps(prepared.to_json()))) == prepared
    assert prepared.transform().bits == 12
    old = {k: v for k, v in prepared.to_json().items() if k != "bits_of_16_bit_grey"}
    assert Preprocessing.from_json(old).bits == 16
    _, seen = next(iter(readable(run, lw.read(f"csv:{dark / 'labels.csv'}"))))
    assert seen.float().mean() > 100


def _fit_arguments(settings: dict) -> dict:
    make_config(settings)
    data, rest = settings["data"]["source"], {k: v for k, v in settings.items() if k != "data"}
    return {"data": data, **rest}


def test_an_artefact_keeps_the_bits(tmp_path: Path, predictor: Predictor) -> None:
    prepared = Preprocessing((32, 32), "squash", (0.5,) * 3, (0.2,) * 3, bits=12)
    (tmp_path / "model.onnx").write_bytes(b"graph")
    Artefact(tmp_path, "onnx", "model.onnx", predictor.labels, prepared, predictor.decisions, False).save()
    assert Artefact.open(tmp_path).preprocessing.transform().bits == 12
