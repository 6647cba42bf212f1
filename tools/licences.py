"""Writes docs/licences.md: the licence of each dependency of Labelwise, as installed on this machine.

Run: python tools/licences.py
"""

from __future__ import annotations

import argparse
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


def dependencies() -> dict[str, list[str]]:
    """Package -> the parts that require it: `library`, or names of extras."""
    project = tomllib.loads((ROOT / "pyproject.toml").read_text(encoding="utf-8"))["project"]
    packages: dict[str, list[str]] = {}
    for part, texts in {"library": project["dependencies"], **project["optional-dependencies"]}.items():
        for text in texts:
            name = re.match(r"[\w.-]+", text)
            assert name is not None
            packages.setdefault(name[0], []).append(part)
    return packages


def licence(name: str) -> str:
    """The licence of a package's metadata: its expression, else its classifiers, else the first line of its text."""
    info = metadata.metadata(name)
    if info.get("License-Expression"):
        return str(info["License-Expression"])
    classes = [
        c.rpartition(" :: ")[2] for c in info.get_all("Classifier") or [] if c.startswith("License ::")
    ]
    classes = [c for c in classes if c != "OSI Approved"]
    if classes:
        return ", ".join(classes)
    text = (info.get("License") or "").strip().splitlines()
    return text[0][:LONGEST] if text and text[0] != "UNKNOWN" else "not stated"


def page() -> str:
    """The table."""
    lines = [
        "# Licences of dependencies",
        "",
        "Labelwise is under Apache-2.0. Written by `python tools/licences.py`; a test compares the names.",
        "",
        "| package | licence | needed by |",
        "|---|---|---|",
    ]
    for name, parts in sorted(dependencies().items(), key=lambda pair: pair[0].lower()):
        try:
            licence_text = licence(name)
        except metadata.PackageNotFoundError:
            licence_text = "not installed here"
        lines.append(f"| {name} | {licence_text} | {', '.join(dict.fromkeys(parts))} |")
    return "\n".join(lines) + "\n"


def main() -> None:
    """Writes the page."""
    argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawTextHelpFormatter).parse_args()
    PAGE.write_text(page(), encoding="utf-8")


if __name__ == "__main__":
    main()
