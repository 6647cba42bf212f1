"""The page of an audit: self-contained, escaped, complete, and with pictures of readable images."""

from __future__ import annotations

import re
from pathlib import Path

import numpy as np
import pytest
from PIL import Image

from labelwise.audit.audit import Audit
from labelwise.data import read
from labelwise.decisions.audit import Finding
from labelwise.reports import audit as module
from labelwise.reports.audit import pictures, write_audit_page, write_evidence
from tiny_runs import photographs

BAD = "<script>alert(1)</script>"


class Corner:
    """Evidence in the upper left corner of every image."""

    def __init__(self) -> None:
        self.asked: list[int] = []

    def evidence(self, images: list, label_indices: list[int]) -> list[np.ndarray]:
        self.asked += label_indices
        evidence = np.zeros((4, 4))
        evidence[0, 0] = 1
        return [evidence for _ in images]


@pytest.fixture
def audit(tmp_path: Path) -> Audit:
    rows = read(f"csv:{photographs(tmp_path / 'photos')}").split("train")
    findings = [
        Finding(0, 0, None, 1, "missing", 0.98, 0.98, "r1"),
        Finding(1, 1, 1, 0, "wrong", 0.9, 0.1, "r2"),
        Finding(2, 2, 0, 1, "duplicate", 0.8, 0.8, f"looks like {BAD}"),
        Finding(3, 0, 0, 1, "missing", 0.7, 0.7, "r4"),
    ]
    return Audit(rows, np.full(rows.values.shape, 0.5), findings, "5 folds")


def test_the_page_says_everything_and_loads_nothing(audit: Audit, tmp_path: Path) -> None:
    shown = pictures(audit, Corner())
    write_audit_page(audit, shown, tmp_path / "audit.html", BAD)
    page = (tmp_path / "audit.html").read_text()
    assert BAD not in page
    assert page.count("&lt;script&gt;alert(1)&lt;/script&gt;") == 2
    assert "<script" not in page
    assert set(re.findall(r'(?:src|href)="([^"#]{5})', page)) == {"data:"}
    for text in (
        "unknown → present",
        "present → absent",
        "absent → present",
        "train0.jpg",
        "5 folds",
        "None.",
    ):
        assert text in page
    assert page.count("<figure>") == 4
    assert re.findall(r'figure">(\d)', page) == ["4", "2", "1", "1", "0"]


def test_the_table_of_labels_counts_by_kind(audit: Audit) -> None:
    rows = {row["name"]: row["counts"] for row in module._labels(audit)}
    assert rows == {"red": [2, 0, 0, 0], "green": [0, 1, 0, 0], "blue": [0, 0, 1, 0]}


def test_evidence_lies_over_the_photograph(audit: Audit, tmp_path: Path) -> None:
    source = Corner()
    shown = pictures(audit, source)
    names = write_evidence(shown, tmp_path / "audit.evidence")
    assert names == {i: f"audit.evidence/{i + 1:05}.png" for i in range(4)}
    assert sorted(source.asked) == [0, 0, 1, 2]
    over, plain = (np.asarray(i, float) for i in (Image.open(tmp_path / names[0]), shown[0].photo))
    assert over.shape == plain.shape
    change = np.abs(over - plain).mean(-1)
    h, w = change.shape
    assert change[: h // 4, : w // 4].mean() > change[h // 2 :, w // 2 :].mean()


def test_an_unreadable_image_has_no_picture(audit: Audit, tmp_path: Path) -> None:
    (tmp_path / "photos" / "train1.jpg").write_bytes(b"none")
    shown = pictures(audit, Corner())
    assert sorted(shown) == [0, 2, 3]
    write_audit_page(audit, shown, tmp_path / "audit.html", "run")
    assert "None that can be shown." in (tmp_path / "audit.html").read_text()


def test_only_the_first_of_each_kind_are_pictured(
    audit: Audit, monkeypatch: pytest.MonkeyPatch, tmp_path: Path
) -> None:
    monkeypatch.setattr(module, "PICTURED", 1)
    shown = pictures(audit, Corner())
    assert sorted(shown) == [0, 1, 2]
    write_audit_page(audit, shown, tmp_path / "audit.html", "run")
    assert "The first 1 of 2." in (tmp_path / "audit.html").read_text()
