#!/usr/bin/env bash
# Package:  pyarrow 26.0.1
# Date:     2026-11-28
# Expected: a cast from list_view to list gives a valid list array, as validate(full=True) says of the array cast.
# Happens:  the offsets buffer holds N numbers where N + 1 are needed; the cast raises nothing and validate raises
#           "Offsets buffer size isn't large enough". A Parquet file keeps the type list_view, so any reader that
#           turns it into a list meets this.
set -eu
here=$(mktemp -d)
trap 'rm -rf "$here"' EXIT
python3 -m venv "$here/venv"
"$here/venv/bin/pip" install --quiet --disable-pip-version-check pyarrow==26.0.1
"$here/venv/bin/python" - <<'PY'
import pyarrow as pa

views = pa.array([["cat"], [], ["dog", "cat"]], pa.list_view(pa.string()))
views.validate(full=True)
lists = views.cast(pa.list_(pa.string()))
print("rows:", len(lists), "bytes of offsets:", lists.buffers()[1].size, "needed:", 4 * (len(lists) + 1))
try:
    lists.validate(full=True)
except pa.ArrowInvalid as error:
    print("validate:", error)
else:
    raise SystemExit("changed: the cast gives a valid array")
PY
