#!/usr/bin/env bash
# Package:  torchmetrics 1.9.0 (beside torch 2.13.0)
# Date:     2026-11-29
# Expected: a label that is unknown for every image (all its targets are ignore_index) has no score: nan or a warning,
#           and no part in the macro mean, in every multi-label metric alike.
# Happens:  the macro mean counts it as wholly wrong: accuracy 0, and a Hamming distance of 1, though no decision was
#           judged and micro says there is no error. Average precision raises IndexError with exact thresholds and gives
#           -0.0 with binned ones, which goes into the mean. No warning comes before any of them.
set -eu
here=$(mktemp -d)
trap 'rm -rf "$here"' EXIT
python3 -m venv "$here/venv"
"$here/venv/bin/pip" install --quiet --no-compile --disable-pip-version-check torchmetrics==1.9.0 torch==2.13.0
"$here/venv/bin/python" - <<'PY'
import warnings

import torch
from torchmetrics.functional.classification import multilabel_accuracy
from torchmetrics.functional.classification import multilabel_average_precision
from torchmetrics.functional.classification import multilabel_hamming_distance

scores = torch.tensor([[0.9, 0.2], [0.1, 0.8], [0.7, 0.6]])
target = torch.tensor([[1, -1], [0, -1], [1, -1]])  # the first label is right everywhere, the second is unknown
seen = {}
with warnings.catch_warnings(record=True) as said:
    warnings.simplefilter("always")
    for metric in (multilabel_accuracy, multilabel_hamming_distance):
        for average in ("none", "macro", "micro"):
            value = metric(scores, target, num_labels=2, ignore_index=-1, average=average)
            seen[metric.__name__, average] = value.tolist()
    for average in ("none", "macro"):
        value = multilabel_average_precision(scores, target, 2, average=average, thresholds=10, ignore_index=-1)
        seen["multilabel_average_precision, binned", average] = value.tolist()
    try:
        multilabel_average_precision(scores, target, 2, average="macro", ignore_index=-1)
        seen["multilabel_average_precision, exact", "macro"] = "no error"
    except IndexError as error:
        seen["multilabel_average_precision, exact", "macro"] = f"IndexError: {error}"
for (name, average), value in seen.items():
    print(f"{name}, {average}: {value}")
print("warnings:", [str(warning.message) for warning in said])

expected = {
    ("multilabel_accuracy", "none"): [1.0, 0.0],
    ("multilabel_accuracy", "macro"): 0.5,
    ("multilabel_accuracy", "micro"): 1.0,
    ("multilabel_hamming_distance", "none"): [0.0, 1.0],
    ("multilabel_hamming_distance", "macro"): 0.5,
    ("multilabel_hamming_distance", "micro"): 0.0,
    ("multilabel_average_precision, binned", "none"): [1.0, 0.0],
    ("multilabel_average_precision, binned", "macro"): 0.5,
}
if any(seen[key] != value for key, value in expected.items()):
    raise SystemExit("changed: the macro mean no longer counts the unknown label as wrong")
if not seen["multilabel_average_precision, exact", "macro"].startswith("IndexError") or said:
    raise SystemExit("changed: exact average precision takes the unknown label, or a warning comes")
PY
