"""Builds labelwise-runtime from the modules of labelwise that need no PyTorch, which `modules.txt` lists.

The modules are copied, with their imports renamed, so that one source serves both packages and both can be installed.
"""

from __future__ import annotations

import re
from pathlib import Path

HERE = Path(__file__).resolve().parent
SOURCE = HERE.parent / "src" / "labelwise"
_IMPORT = re.compile(r"^(\s*(?:from|import) )labelwise\b", re.MULTILINE)
_UPGRADE = re.compile(r"(?<=pip install -U )labelwise\b")


def version() -> str:
    """The version of labelwise."""
    project = (HERE.parent / "pyproject.toml").read_text(encoding="utf-8")
    return re.findall(r'^version = "(.+)"$', project, re.MULTILINE)[0]


def copy_modules(package: Path) -> None:
    """Copies the listed modules into the folder of the package labelwise_runtime, and writes its version."""
    (package / "version.py").write_text(
        f'"""The version."""\n\n__version__ = "{version()}"\n', encoding="utf-8"
    )
    for name in (HERE / "modules.txt").read_text(encoding="utf-8").split():
        text = (SOURCE / name).read_text(encoding="utf-8")
        text = _UPGRADE.sub("labelwise-runtime", _IMPORT.sub(r"\1labelwise_runtime", text))
        target = package / name
        target.parent.mkdir(parents=True, exist_ok=True)
        if name.endswith(".py") and target.parent != package:
            (target.parent / "__init__.py").write_text(f'"""Modules of labelwise.{target.parent.name}."""\n')
        target.write_text(text, encoding="utf-8")


if __name__ == "__main__":
    from setuptools import setup
    from setuptools.command.build_py import build_py

    class Build(build_py):
        """Adds the copied modules."""

        def run(self) -> None:
            """Builds the package."""
            super().run()
            copy_modules(Path(self.build_lib, "labelwise_runtime"))

    setup(version=version(), cmdclass={"build_py": Build})
