"""Write docs/licences.md: version and licence of each package that Labelwise names, as installed here.

python benchmarks/licences.py
"""

from __future__ import annotations

import re
import sys
from importlib import metadata
from pathlib import Path

if sys.version_info >= (3, 11):
    import tomllib
else:
    import tomli as tomllib

ROOT = Path(__file__).resolve().parents[1]
PAGE = ROOT / "docs" / "licences.md"
LONGEST = 60


def wanted() -> dict[str, list[str]]:
    """Package -> where it is needed: `library`, or names of extras."""
    project = tomllib.loads((ROOT / "pyproject.toml").read_text(encoding="utf-8"))["project"]
    found: dict[str, list[str]] = {}
    for place, texts in {"library": project["dependencies"], **project["optional-dependencies"]}.items():
        for text in texts:
            name = re.match(r"[\w.-]+", text)
            assert name is not None
            found.setdefault(name[0], []).append(place)
    return found


def licence(name: str) -> str:
    """The licence that a package states: its expression, its classifiers, the first line of its text."""
    found = metadata.metadata(name)
    if found.get("License-Expression"):
        return str(found["License-Expression"])
    classes = [
        c.rpartition(" :: ")[2] for c in found.get_all("Classifier") or [] if c.startswith("License ::")
    ]
    classes = [c for c in classes if c != "OSI Approved"]
    if classes:
        return ", ".join(classes)
    text = (found.get("License") or "").strip().splitlines()
    return text[0][:LONGEST] if text and text[0] != "UNKNOWN" else "not stated"


def page() -> str:
    """The table."""
    lines = [
        "# Licences of dependencies",
        "",
        "Labelwise is under Apache-2.0. Written by `python benchmarks/licences.py`; a test compares the names.",
        "",
        "| package | licence | needed by |",
        "|---|---|---|",
    ]
    for name, places in sorted(wanted().items(), key=lambda pair: pair[0].lower()):
        try:
            told = licence(name)
        except metadata.PackageNotFoundError:
            told = "not installed here"
        lines.append(f"| {name} | {told} | {', '.join(dict.fromkeys(places))} |")
    return "\n".join(lines) + "\n"


def main() -> int:
    """Write the page."""
    PAGE.write_text(page(), encoding="utf-8")
    return 0


if __name__ == "__main__":
    sys.exit(main())
