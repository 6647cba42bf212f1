"""The head of the report shows the effect of decisions, and nothing for a run without them."""

from __future__ import annotations

import json
from pathlib import Path

from synthetic_run import write_run

from labelwise.reports import write_report
from labelwise.reports.decided import decided
from labelwise.reports.record import read_run

NAMES = ("cat", "dog", "sofa")


def test_before_and_after_stand_side_by_side(tmp_path: Path) -> None:
    results = json.loads((write_run(tmp_path, NAMES, images=40) / "results.json").read_text())
    metrics = results["splits"]["test"]["metrics"]
    metrics |= {
        "CF1_macro": 0.612,
        "tuned": {"CF1_macro": 0.667, "CF1": 0.7, "OF1": 0.71},
        "tuned_without_rules": {"CF1": 0.69, "OF1": 0.7, "images_against_a_rule": 0.016},
        "calibration": {"before": {"ECE": 0.08}, "after": {"ECE": 0.0123}},
        "intervals": {"mAP": {"low": 0.5, "high": 0.6}, "tuned_CF1_macro": {"low": 0.64, "high": 0.69}},
    }
    results["splits"]["test"]["per_label"]["cat"]["ECE"] = 0.0456
    (tmp_path / "results.json").write_text(json.dumps(results))
    result = decided(read_run(tmp_path))
    assert result["interval"] == "50.0 to 60.0"
    assert result["rows"][0] == ("Macro F1", "61.2", "66.7 (64.0 to 69.0)")
    assert result["rows"][3:6] == [
        ("CF1, thresholds alone", "-", "69.0"),
        ("OF1, thresholds alone", "-", "70.0"),
        ("Images against a rule, thresholds alone", "-", "1.6"),
    ]
    assert result["rows"][-1] == ("Calibration error, mean over labels", "8.0", "1.2")
    page = write_report(tmp_path).read_text(encoding="utf-8")
    assert "mAP on test, 50.0 to 60.0" in page
    assert "<td>66.7 (64.0 to 69.0)</td>" in page
    assert '<td data-value="0.0456">4.6</td>' in page


def test_an_older_run_shows_nothing_of_it(tmp_path: Path) -> None:
    write_run(tmp_path, NAMES, images=40)
    result = decided(read_run(tmp_path))
    assert (result["interval"], result["rows"]) == (None, [])
    page = write_report(tmp_path).read_text(encoding="utf-8")
    assert "Effect of the decisions" not in page
    assert ">ECE<" not in page
