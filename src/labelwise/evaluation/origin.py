"""Which code computed a result."""

from __future__ import annotations

import os
import re
import subprocess
from pathlib import Path

import labelwise

PACKAGE = Path(__file__).resolve().parents[1]


def code_version(package: Path = PACKAGE) -> str:
    """The commit of the running checkout, marked if files differ from it; else the installed version.

    A checkout counts if git tracks the package as `src/labelwise` of a project of that name. A package installed
    inside another repository, as in a virtual environment, has no commit of its own.
    """
    try:
        top = Path(_git(package, "rev-parse", "--show-toplevel"))
        if top / "src" / "labelwise" == package and _is_ours(top / "pyproject.toml"):
            _git(package, "ls-files", "--error-unmatch", "__init__.py")
            return _git(package, "describe", "--always", "--dirty")
    except (OSError, subprocess.SubprocessError):
        pass  # no git, no repository, or one that does not track these files
    return f"version {labelwise.__version__}"


def _git(folder: Path, *arguments: str) -> str:
    """Output of git in a folder, without the `GIT_*` variables that a hook sets to another repository."""
    environment = {k: v for k, v in os.environ.items() if not k.startswith("GIT_")}
    command = ["git", "-C", str(folder), *arguments]
    result = subprocess.run(command, capture_output=True, text=True, timeout=5, check=True, env=environment)
    return result.stdout.strip()


def _is_ours(project: Path) -> bool:
    """Whether a pyproject.toml is that of Labelwise."""
    return re.search(r'^name = "labelwise"$', project.read_text(encoding="utf-8"), re.MULTILINE) is not None
