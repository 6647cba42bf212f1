#!/usr/bin/env bash
# Package:  pyarrow 26.0.1
# Date:     2026-11-29
# Expected: a stream file (the kind in which datasets keeps its rows) that lost its end does not read as a
#           shorter dataset: read_all() raises, as it does where the cut lies inside a batch.
# Happens:  where the cut lies between two batches, read_all() and validate(full=True) raise nothing and the last rows
#           are missing. The format lets a stream end there; the writer closes each one with a mark of 8 bytes, but the
#           reader does not ask for it. A copy that stops at such a place loses labels without a word.
set -eu
here=$(mktemp -d)
trap 'rm -rf "$here"' EXIT
python3 -m venv "$here/venv"
"$here/venv/bin/pip" install --quiet --no-compile --disable-pip-version-check pyarrow==26.0.1
"$here/venv/bin/python" - <<'PY'
import io

import pyarrow as pa

batch = pa.record_batch({"labels": pa.array([["cat"], ["dog", "cat"], []], pa.list_(pa.string()))})
file = io.BytesIO()
ends = []
with pa.ipc.new_stream(file, batch.schema) as writer:
    for _ in range(3):
        writer.write_batch(batch)
        ends.append(file.tell())
whole = file.getvalue()


def rows(content):
    table = pa.ipc.open_stream(content).read_all()
    table.validate(full=True)
    return table.num_rows


print("rows of the whole stream:", rows(whole), "bytes after the last batch:", whole[ends[-1] :])
print("rows where it is cut after batch 1, 2, 3:", [rows(whole[:end]) for end in ends])
try:
    rows(whole[: ends[1] + 100])
except pa.ArrowInvalid as error:
    print("cut inside batch 3:", error)
else:
    raise SystemExit("changed: a cut inside a batch reads")
try:
    shorter = rows(whole[: ends[1]])
except pa.ArrowInvalid as error:
    raise SystemExit("changed: a stream without its end raises") from error
if (rows(whole), shorter) != (9, 6):
    raise SystemExit("changed: a stream without its end gives other rows")
PY
