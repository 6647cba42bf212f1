"""Damaged files of every reader: each ends as data or as one plain line."""

from __future__ import annotations

import random
import time
from pathlib import Path

import pytest
from fuzz_mutate import MUTATIONS, mutated
from fuzz_target import Target
from fuzz_targets import targets
from fuzz_verdict import Lost, judge
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from labelwise.errors import LabelwiseError

CORPUS = Path(__file__).with_name("corpus")
NAMES = [
    *(
        "csv",
        "csv-missing-skip",
        "coco",
        "voc-xml",
        "voc-list",
        "parquet",
        "parquet-metadata",
        "parquet-columns",
    ),
    *("mat-pa100k", "mat-peta", "mat-rapv1", "pickle"),
    *("nuswide-Concepts81", "nuswide-TestImagelist", "nuswide-Labels_concept03_Test"),
    *("vg-test_list_500", "vg-vg_category_500_labels_index"),
    *("image", "image-size", "mask", "scores", "weights-pth", "weights-safetensors", "vectors"),
    *("audit-complete", "audit-review", "journal", "artefact", "checksums", "yaml", "source"),
]


@pytest.fixture(scope="module")
def readers(tmp_path_factory: pytest.TempPathFactory) -> dict[str, Target]:
    """All readers by name."""
    return {target.name: target for target in targets(tmp_path_factory.mktemp("fuzz"))}


def test_the_list_of_readers_is_whole(readers: dict[str, Target]) -> None:
    assert list(readers) == NAMES
    assert {folder.name for folder in CORPUS.iterdir()} <= set(NAMES)


@pytest.mark.parametrize("name", [name for name in NAMES if name != "parquet-columns"])
def test_valid_files_are_accepted(readers: dict[str, Target], name: str) -> None:
    for seed in readers[name].seeds:
        assert judge(lambda seed=seed: readers[name].call(seed)).end == "accepted"  # type: ignore[misc]


@pytest.mark.parametrize("name", NAMES)
def test_damaged_files_end_well(readers: dict[str, Target], name: str) -> None:
    target = readers[name]

    @settings(
        max_examples=6 if name.startswith("nuswide") else 25,
        deadline=None,
        database=None,
        derandomize=True,
        suppress_health_check=list(HealthCheck),
    )
    @given(seed=st.sampled_from(target.seeds), number=st.integers(0, 2**32))
    def damaged(seed: bytes, number: int) -> None:
        data = mutated(seed, random.Random(number), target.seeds)
        verdict = judge(lambda: target.call(data))
        assert verdict.end != "finding", f"{verdict.message}: {data[:200]!r}"

    damaged()


@pytest.mark.parametrize(
    "file", sorted(CORPUS.glob("*/*")), ids=lambda file: f"{file.parent.name}-{file.name}"
)
def test_what_once_did_harm_is_refused(readers: dict[str, Target], file: Path) -> None:
    verdict = judge(lambda: readers[file.parent.name].call(file.read_bytes()))
    assert verdict.end == "refused", verdict


def _sleep() -> None:
    end = time.process_time() + 5
    while time.process_time() < end:
        pass


def _raise(error: Exception) -> None:
    raise error


@pytest.mark.parametrize(
    ("call", "message"),
    [
        (lambda: _raise(KeyError("a")), "KeyError: 'a'"),
        (lambda: _raise(Lost("2 rows became 1")), "Lost: 2 rows became 1"),
        (_sleep, "more than 2 s"),
    ],
)
def test_the_judge_sees_what_is_wrong(call: object, message: str) -> None:
    verdict = judge(call)  # type: ignore[arg-type]
    assert verdict.end == "finding"
    assert message in verdict.message


def test_the_judge_sees_memory_that_grew(monkeypatch: pytest.MonkeyPatch) -> None:
    readings = iter([100.0, 601.0, 100.0, 599.0])
    monkeypatch.setattr("fuzz_verdict.peak_mib", lambda: next(readings))
    assert judge(lambda: None).message == "501 MiB more memory"
    assert judge(lambda: None).end == "accepted"


def test_the_judge_passes_a_refusal() -> None:
    verdict = judge(lambda: _raise(LabelwiseError("a\nb", "c", "d")))
    assert (verdict.end, verdict.message) == ("refused", "a\\nb; expected c; d")


def test_mutations_change_and_repeat_themselves() -> None:
    data = b'{"a": [1, 2.5], "b": "text"}\nmore\n' * 3
    for mutate in MUTATIONS:
        assert any(mutate(data, random.Random(i)) != data for i in range(5)), mutate
        assert mutate(data, random.Random(3)) == mutate(data, random.Random(3))
    assert len(mutated(data * 9999, random.Random(0))) <= 1 << 16
