#!/usr/bin/env bash
# Package:  torchmetrics 1.9.0 (beside torch 2.13.0)
# Date:     2026-11-29
# Expected: ignore_index of multilabel_coverage_error names "a target value that is ignored and does not contribute to
#           the metric calculation". A label that is not known for an image changes nothing: the one true label has the
#           highest score, so the coverage is 1 with the unknown label and 1 without it.
# Happens:  an image with one ignored label gets the worst coverage there is, the number of labels, whatever its scores.
#           Half of a dataset with an unknown label each makes a perfect model look bad.
set -eu
here=$(mktemp -d)
trap 'rm -rf "$here"' EXIT
python3 -m venv "$here/venv"
"$here/venv/bin/pip" install --quiet --no-compile --disable-pip-version-check torchmetrics==1.9.0 torch==2.13.0
"$here/venv/bin/python" - <<'PY'
import torch
from torchmetrics.functional.classification import multilabel_coverage_error

scores = torch.tensor([[0.9, 0.8, 0.1, 0.2]])
known = multilabel_coverage_error(scores, torch.tensor([[1, 0, 0, 0]]), num_labels=4, ignore_index=-1).item()
both = multilabel_coverage_error(scores, torch.tensor([[1, 1, 0, 0]]), num_labels=4, ignore_index=-1).item()
left_out = multilabel_coverage_error(scores[:, [0, 2, 3]], torch.tensor([[1, 0, 0]]), num_labels=3).item()
found = []
for place in (1, 2, 3):
    target = torch.tensor([[1, 0, 0, 0]])
    target[0, place] = -1
    found.append(multilabel_coverage_error(scores, target, num_labels=4, ignore_index=-1).item())
print("second label absent:", known, " present:", both, " its column left out:", left_out)
print("one absent label ignored instead (second, third, fourth):", found)
if (known, both, left_out) != (1.0, 2.0, 1.0):
    raise SystemExit("changed: the coverage error of known labels")
if found != [4.0, 4.0, 4.0]:
    raise SystemExit("changed: an ignored label no longer gives the worst coverage")
PY
