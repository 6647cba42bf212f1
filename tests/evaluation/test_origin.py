"""The code version of a result: a commit only of the library's own checkout."""

from __future__ import annotations

import shutil
import subprocess
from pathlib import Path

import pytest

from labelwise import __version__
from labelwise.evaluation.origin import code_version

pytestmark = pytest.mark.skipif(shutil.which("git") is None, reason="git is not installed")
INSTALLED = f"version {__version__}"


@pytest.fixture(autouse=True)
def plain_git(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    """No user settings of git, and an author for commits."""
    monkeypatch.setenv("HOME", str(tmp_path))
    for role in ("AUTHOR", "COMMITTER"):
        monkeypatch.setenv(f"GIT_{role}_NAME", "a test")
        monkeypatch.setenv(f"GIT_{role}_EMAIL", "test@example.org")


def git(folder: Path, *arguments: str) -> str:
    return subprocess.run(
        ["git", "-C", folder, *arguments], check=True, capture_output=True, text=True
    ).stdout.strip()


def package(folder: Path) -> Path:
    folder.mkdir(parents=True)
    (folder / "__init__.py").write_text("")
    return folder


def repository(folder: Path, name: str = "mine") -> Path:
    folder.mkdir(exist_ok=True)
    (folder / "pyproject.toml").write_text(f'[project]\nname = "{name}"\n')
    git(folder, "init", "-q")
    git(folder, "add", "-A")
    git(folder, "commit", "-q", "-m", "first")
    return folder


def test_a_checkout_has_its_commit_and_whether_it_was_changed(tmp_path: Path) -> None:
    package_folder = package(tmp_path / "src" / "labelwise")
    repository(tmp_path, "labelwise")
    commit = git(tmp_path, "describe", "--always")
    assert code_version(package_folder) == commit
    (package_folder / "__init__.py").write_text("changed = True\n")
    assert code_version(package_folder) == f"{commit}-dirty"


@pytest.mark.parametrize("tracked", [True, False])
def test_installed_inside_another_repository_it_has_its_version(tmp_path: Path, tracked: bool) -> None:
    package_folder = package(tmp_path / "mine" / ".venv" / "lib" / "python3" / "site-packages" / "labelwise")
    if not tracked:
        (tmp_path / "mine" / ".gitignore").write_text(".venv\n")
    repository(tmp_path / "mine")
    assert code_version(package_folder) == INSTALLED


def test_a_copy_in_another_project_is_not_a_checkout(tmp_path: Path) -> None:
    package_folder = package(tmp_path / "src" / "labelwise")
    repository(tmp_path, "mine")
    assert code_version(package_folder) == INSTALLED


def test_an_unpacked_source_under_another_repository_is_none_either(tmp_path: Path) -> None:
    """The sources lie in the folder of a repository that does not track them."""
    repository(tmp_path / "labelwise", "labelwise")
    package_folder = package(tmp_path / "labelwise" / "src" / "labelwise")
    assert code_version(package_folder) == INSTALLED


def test_the_repository_of_the_environment_is_ignored(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    package_folder = package(tmp_path / "site-packages" / "labelwise")
    other = repository(tmp_path / "other", "labelwise")
    monkeypatch.setenv("GIT_DIR", str(other / ".git"))
    monkeypatch.setenv("GIT_WORK_TREE", str(other))
    assert code_version(package_folder) == INSTALLED


def test_without_git_it_has_its_version(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    package_folder = package(tmp_path / "src" / "labelwise")
    repository(tmp_path, "labelwise")
    monkeypatch.setenv("PATH", str(tmp_path / "nothing"))
    assert code_version(package_folder) == INSTALLED
