"""Decisions inside the graph against those of the run's predictor, in every format and installed runtime.

Run: python tools/decide.py RUN... [--images 56] [--csv results/decide.csv]

Each run is exported as it is, and with made-up exclusive groups of four labels. Batches have 1, 2, 3 and 8 images.
"""

from __future__ import annotations

import argparse
import tempfile
from dataclasses import replace
from itertools import islice
from pathlib import Path

import numpy as np

from kept import keep
from labelwise.decisions import Decisions
from labelwise.export.engines import Eager, installed_runtimes
from labelwise.export.graph import FILES, program, write_graph
from labelwise.export.parity import BATCHES
from labelwise.export.photographs import judged_rows, readable, source_of
from labelwise.inference import Predictor
from labelwise.memory import keep_freed_memory
from labelwise.runs.run import Run
from parity import in_batches


def grouped(decisions: Decisions) -> Decisions:
    """The decisions with exclusive groups of four labels, so that some photographs lose a label by them."""
    columns = range(len(decisions))
    groups = tuple(tuple(columns[start : start + 4]) for start in range(0, len(decisions) - 3, 4))
    return replace(decisions, exclusive=groups)


def lines(path: Path, images: int) -> list[dict[str, object]]:
    """A row for each set of decisions, format and runtime."""
    run = Run.open(path)
    eager, size = Eager(run.model(), "cpu"), run.config.transform().input_size
    source = judged_rows(source_of(run, None))
    photos = [(source.image_id(i), image) for i, image in islice(readable(run, source), images)]
    batches = list(in_batches(photos))
    usual = Predictor(run)
    rows = []
    for name, decisions in (("of the run", run.decisions()), ("with groups", grouped(run.decisions()))):
        predictor = Predictor(run.labels, decisions, usual.transform, eager)
        answers = [predictor.of_prepared(batch) for _, batch in batches]
        exported = program(eager.model, size, True, False, decisions)
        with tempfile.TemporaryDirectory() as folder:
            for kind in FILES:
                write_graph(exported, kind, Path(folder))
                for _, opened in installed_runtimes(kind, Path(folder) / FILES[kind], True):
                    engine = opened()
                    other, difference, selected = 0, 0.0, 0
                    for (_, batch), answer in zip(batches, answers, strict=True):
                        _, p, chosen = engine.decide(batch)  # type: ignore[attr-defined]
                        expected = np.array([[a.scores[n] for n in run.labels.names] for a in answer])
                        picked = np.array([[n in a.selected for n in run.labels.names] for a in answer])
                        other += int((chosen != picked).sum())
                        selected += int(picked.sum())
                        difference = max(difference, float(np.abs(p - expected).max()))
                    rows.append(
                        {
                            "method": run.config.method,
                            "decisions": name,
                            "format": kind,
                            "engine": engine.name,
                            "images": len(photos),
                            "batches": " ".join(map(str, BATCHES)),
                            "cells": len(photos) * len(run.labels),
                            "selected": selected,
                            "other_decisions": other,
                            "max_probability_difference": f"{difference:.1e}",
                            "image_size": run.config.image_size,
                        }
                    )
                    print(rows[-1], flush=True)
    return rows


def main() -> None:
    """Prints the rows and writes them as CSV with --csv."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawTextHelpFormatter)
    parser.add_argument("runs", nargs="+", type=Path)
    parser.add_argument("--images", type=int, default=56)
    parser.add_argument("--csv", type=Path)
    args = parser.parse_args()
    keep_freed_memory()
    rows = []
    for path in args.runs:
        rows += lines(path, args.images)
        keep(args.csv, rows)


if __name__ == "__main__":
    main()
