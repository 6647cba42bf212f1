"""labelwise evaluate --by and labelwise report --by: figures of parts of the images."""

from __future__ import annotations

import json
import shutil
from pathlib import Path

from tiny_runs import command


def test_parts_are_printed_returned_and_reported(tmp_path: Path, run_folder: Path) -> None:
    run = shutil.copytree(run_folder, tmp_path / "run")
    label = json.loads((run / "labels.json").read_text())["names"][0]
    done = command("evaluate", run, "--by", f"label:{label}", "--json", "--workers", "0")
    assert done.code == 0, done.err
    result = json.loads(done.out)
    parts = result["parts"][f"label:{label}"]
    assert list(parts) == ["all", label, f"not {label}"]
    assert parts["all"]["images"] == result["conditions"]["scored"]
    assert parts["all"]["images"] == parts[label]["images"] + parts[f"not {label}"]["images"]
    assert parts["all"]["mAP"] == result["metrics"]["mAP"]
    assert parts["all"]["intervals"]["mAP"] == result["metrics"]["intervals"]["mAP"]
    shown = command("evaluate", run, "--by", f"label:{label}", "--workers", "0")
    assert f"by label:{label}" in shown.out
    assert "gap to the rest" in shown.out
    written = command("report", run, "--by", f"label:{label}")
    assert written.code == 0, written.err
    page = (run / "report.html").read_text(encoding="utf-8")
    assert "Where it fails, and for whom" in page
    assert f"By label:{label}" in page
    for parts_named in ("height", "folder"):  # one height, and no folders
        refused = command("report", run, "--by", parts_named)
        assert refused.code == 2
        assert f"--by {parts_named}" in refused.err
    again = command("report", run, run, "--by", "folder")
    assert again.err.strip().endswith("--by folder with several runs; expected one run; name one run")
