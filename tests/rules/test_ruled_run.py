"""A run under rules from end to end: completed, learned, decided alike by every way to an answer, and refused."""

from __future__ import annotations

import csv
import json
import shutil
from pathlib import Path

import numpy as np
import pytest

import labelwise as lw
import tiny_runs
from labelwise.errors import LabelwiseError
from labelwise.export.artefact import Artefact
from labelwise.export.tagger import write_tagger
from labelwise.rules import Rules
from labelwise.runs import Run
from labelwise.serving.app import create_app
from labelwise.training.grown import with_labels_of
from live_server import live
from tiny_runs import command

RULES = "implies:\n  red: warm\nat_most_one:\n  - [warm, cold]\n"


@pytest.fixture(scope="module")
def source(tmp_path_factory: pytest.TempPathFactory) -> str:
    """Photographs of colours; whether they are warm or cold is known of every third alone."""
    folder = tmp_path_factory.mktemp("ruled")
    file = tiny_runs.photographs(folder)
    with open(file, newline="") as opened:
        rows = list(csv.DictReader(opened))
    for i, row in enumerate(rows):
        warm = row["red"] == "1"
        row |= {"warm": str(int(warm)), "cold": str(int(not warm))} if i % 3 else {"warm": "", "cold": ""}
    with open(file, "w", newline="") as opened:
        writer = csv.DictWriter(opened, [*rows[0]])
        writer.writeheader()
        writer.writerows(rows)
    (folder / "rules.yaml").write_text(RULES)
    return f"csv:{file}?rules={folder / 'rules.yaml'}"


@pytest.fixture(scope="module")
def ruled(source: str, tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A finished run on them, with the rules in its loss."""
    out = tmp_path_factory.mktemp("ruled-run") / "run"
    done = command("train", "--data", source, "--out", out, *tiny_runs.TINY, "--set", "rules.weight=0.5")
    assert done.code == 0, done.err
    assert "note: By rules.yaml " in done.out + done.err
    return out


@pytest.fixture
def torn(ruled: Path, tmp_path: Path) -> Path:
    """The run with thresholds at which everything is red and cold, and little is warm."""
    out = shutil.copytree(ruled, tmp_path / "torn")
    stored = json.loads((out / "labels.json").read_text())
    stored["thresholds"] |= {"red": 0.0, "warm": 0.999, "cold": 0.0}
    (out / "labels.json").write_text(json.dumps(stored))
    return out


def test_the_run_keeps_the_rules_and_figures_with_and_without(ruled: Path, source: str) -> None:
    data = lw.read(source)
    assert data.notes[-1].startswith("By rules.yaml ")
    run = Run.open(ruled)
    assert run.labels.rules == Rules((("red", "warm"),), (), (("warm", "cold"),))
    assert run.decisions().implies == ((0, 3),)
    assert run.decisions().exclusive == ((3, 4),)
    metrics = json.loads((ruled / "results.json").read_text())["splits"]["test"]["metrics"]
    assert {"CF1", "OF1", "images_against_a_rule", "images_changed"} <= metrics["tuned_without_rules"].keys()
    logged = [json.loads(line) for line in (ruled / "metrics.jsonl").read_text().splitlines()]
    assert all(line["rules"] > 0 for line in logged if line["kind"] == "step")


def test_evaluation_shows_what_the_rules_change(torn: Path, source: str) -> None:
    done = command("evaluate", torn, "--json", "--workers", "0")
    assert done.code == 0, done.err
    assert "note: By rules.yaml " in done.err
    metrics = json.loads(done.out)["metrics"]
    assert metrics["tuned_without_rules"]["images_against_a_rule"] == 1
    assert metrics["tuned"]["OF1"] != metrics["tuned_without_rules"]["OF1"]
    # Data that were read without rules are completed by those of the run.
    plain = lw.read(source.partition("?")[0])
    unruled = lw.evaluate(torn, plain, pointing=False)
    assert any(n.startswith("By the rules of the run ") for n in unruled.conditions["data_notes"])
    assert unruled.metrics["tuned"]["OF1"] == pytest.approx(metrics["tuned"]["OF1"])
    printed = command("evaluate", torn, "--workers", "0").out
    assert "without the rules: CF1" in printed.replace("\n", " ")


def test_every_way_to_an_answer_decides_alike(torn: Path, source: str, tmp_path: Path) -> None:
    data = lw.read(source).split("test")
    files = [data.encoded(i) for i in range(len(data))]
    run = Run.open(torn)
    scores = lw.evaluate(run, lw.read(source), pointing=False).scores
    chosen = run.decisions().select(run.decisions().probabilities(scores.logits))
    assert run.decisions().rules.kept(chosen).all()
    names = np.array(run.labels.names)
    expected = [set(names[row]) for row in chosen]
    assert all("red" not in one or "warm" in one for one in expected)

    assert [set(a.selected) for a in lw.load(torn).predict(files)] == expected
    lines = command("predict", torn, *files, "--json", "--workers", "0").out.splitlines()
    selected = [{x["name"] for x in json.loads(line)["labels"] if x["selected"]} for line in lines]
    assert selected == expected
    lw.HubModel.from_run(torn).save_pretrained(tmp_path / "hub")
    assert json.loads((tmp_path / "hub" / "artefact.json").read_text())["format_version"] == 2
    assert Artefact.open(tmp_path / "hub").labels.rules == run.labels.rules
    assert [set(a.selected) for a in lw.load(tmp_path / "hub").predict(files)] == expected
    with live(create_app(lw.load(torn))) as client:
        sent = [("files", (Path(file).name, Path(file).read_bytes())) for file in files]
        answers = client.post("/predict", files=sent).json()["predictions"]
        rules = client.get("/labels").json()["rules"]
    assert [{x["name"] for x in a["labels"] if x["selected"]} for a in answers] == expected
    assert rules["implies"] == [["red", "warm"]]
    assert {"labels", "sets"} == rules["parts"][0].keys()


def test_what_cannot_say_rules_refuses_the_run(torn: Path, tmp_path: Path) -> None:
    with pytest.raises(LabelwiseError, match="labels that exclude or imply one another"):
        write_tagger(Run.open(torn), tmp_path / "tagger", [])


def test_training_that_goes_on_keeps_the_rules_of_the_run(ruled: Path, source: str) -> None:
    plain = lw.read(source.partition("?")[0])
    grown = with_labels_of(plain, ruled)
    assert grown.labels.rules == Run.open(ruled).labels.rules
    assert grown.known.sum() > plain.known.sum()
    assert len(with_labels_of(lw.read(source), ruled).notes) == len(lw.read(source).notes)


@pytest.mark.parametrize(
    ("text", "message"),
    [
        ("implies: {red: warm, warm: red}", "rules in a cycle: "),
        ("implies: {red: hot}", "a rule on the label 'hot'; expected one of: red, green, blue, warm, cold;"),
    ],
)
def test_a_bad_rule_file_is_one_line(source: str, tmp_path: Path, text: str, message: str) -> None:
    (tmp_path / "bad.yaml").write_text(text)
    bad = f"{source.partition('?')[0]}?rules={tmp_path / 'bad.yaml'}"
    for arguments in (("data", "check", bad), ("train", "--data", bad, "--out", tmp_path / "run")):
        assert f"bad.yaml: {message}" in command(*arguments).message


def test_the_term_without_rules_is_refused(source: str, tmp_path: Path) -> None:
    arguments = ("--out", tmp_path / "run", *tiny_runs.TINY, "--set", "rules.weight=1")
    done = command("train", "--data", source.partition("?")[0], *arguments)
    assert "rules.weight for labels without rules" in done.message
