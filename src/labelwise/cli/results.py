"""Results of the commands on collections, as files."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

from labelwise.errors import LabelwiseError


def check_suffix(out: Path | None, suffixes: Sequence[str]) -> None:
    """Refuse a file of another kind before anything is computed."""
    if out is not None and out.suffix.lower() not in suffixes:
        raise LabelwiseError(f"--out {out}", f"a file ending in {', '.join(suffixes)}", "change the suffix")


def write_result(out: Path, record: Mapping[str, Any], rows: Sequence[Mapping[str, Any]]) -> None:
    """Write the record as JSON, or the rows as CSV with lists as cells of `labelwise predict`."""
    import csv
    import io
    import json as js

    from labelwise.inference.writers import cell_writer
    from labelwise.runs.files import write_text

    if out.suffix.lower() == ".json":
        write_text(out, js.dumps(record, ensure_ascii=False, indent=1) + "\n")
        return
    cells = [_flat_row(row) for row in rows]
    names = {name for row in cells for value in row.values() if isinstance(value, list) for name in value}
    cell = cell_writer(tuple(names))
    text = io.StringIO()
    writer = csv.DictWriter(text, list(cells[0]) if cells else ["image"], lineterminator="\n")
    writer.writeheader()
    for row in cells:
        writer.writerow({k: cell(v) if isinstance(v, list) else v for k, v in row.items()})
    write_text(out, text.getvalue())


def _flat_row(row: Mapping[str, Any]) -> dict[str, Any]:
    """The row with its box as four cells."""
    others = {name: value for name, value in row.items() if name != "box"}
    return others | dict(zip(("x0", "y0", "x1", "y1"), row.get("box", ()), strict=False))
