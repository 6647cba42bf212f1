"""Significance of the differences between rows of a folder of runs, over images and seeds.

Run: python studies/differences.py FOLDER [--against ROW] [--csv results/voc-differences.csv]

Runs are named ROW-seed0 or ROW-known0.1-seed0 and so on, as by `labelwise sweep`. Each row is compared with its
control, `ROW-uniform`, and with the row of --against, by default `baseline-mlp` if FOLDER has it; see
`labelwise.experiments.significance`.
"""

from __future__ import annotations

import argparse
import re
from collections import defaultdict
from pathlib import Path

from labelwise.experiments import significance
from labelwise.runs.run import Run

NAMED = re.compile(r"(.+?)(?:-known[\d.]+)?-seed(\d+)")


def score_files(folder: Path) -> dict[str, dict[significance.Cell, Path]]:
    """Row -> (share of known labels, seed) -> its test scores."""
    files: dict[str, dict[significance.Cell, Path]] = defaultdict(dict)
    for path in sorted(folder.iterdir()):
        named, scores = NAMED.fullmatch(path.name), path / "scores" / "test.npz"
        if named and scores.is_file():
            known = Run.open(path).config.data.known_proportion
            files[named[1]][known, int(named[2])] = scores
    return files


def main() -> None:
    """Prints a line per comparison and writes them as CSV with --csv."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawTextHelpFormatter)
    parser.add_argument("folder", type=Path)
    parser.add_argument("--against")
    parser.add_argument("--csv", type=Path)
    args = parser.parse_args()
    files = score_files(args.folder)
    against = args.against or "baseline-mlp"
    comparisons = significance.differences(files, against) if args.against or against in files else []
    for row in files:
        twin = f"{row}-uniform"
        if twin in files:
            comparisons += significance.differences({k: files[k] for k in (row, twin)}, twin)
    print(significance.difference_table(comparisons))
    if args.csv:
        significance.write_differences(args.csv, comparisons)


if __name__ == "__main__":
    main()
