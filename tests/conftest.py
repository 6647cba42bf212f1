"""Shapes and types in signatures are checked while the tests run; the package must not be imported before."""

from __future__ import annotations

import gc
from collections.abc import Generator, Iterator
from pathlib import Path
from typing import TYPE_CHECKING, Any

import pytest
from _pytest.doctest import DoctestModule
from jaxtyping import install_import_hook

import typechecking  # noqa: F401 - before the hook takes jaxtyping's decorator
import unsynced  # noqa: F401
from longest_files import longest_first

install_import_hook("labelwise", "typechecking.checked")
gc.disable()  # until all is imported, which leaves little to collect

if TYPE_CHECKING:  # the process that hands out files to the workers needs no PyTorch, and they wait for it
    import torch

pytest_plugins = ("tiny_runs",)


def _has_examples(file: Path) -> bool:
    return not file.is_relative_to(Path(__file__).parent) and ">>>" in file.read_text(encoding="utf-8")


@pytest.hookimpl(wrapper=True)
def pytest_collect_file() -> Generator[None, list[Any], list[Any]]:
    """Examples are looked for where there are some, by every worker; the tests' own files hold none."""
    found = yield
    return [one for one in found if not isinstance(one, DoctestModule) or _has_examples(one.path)]


def pytest_collection_modifyitems(items: list[pytest.Item]) -> None:
    """The order in which workers are given files."""
    longest_first(items)


def pytest_collection_finish() -> None:
    """Modules and what they decorate stay to the end: later collections need not look through them."""
    gc.collect()
    gc.freeze()
    gc.enable()


@pytest.fixture(autouse=True, scope="session")
def own_cache(tmp_path_factory: pytest.TempPathFactory) -> Iterator[None]:
    """No test reads or fills the cache folder of the person who runs it."""
    with pytest.MonkeyPatch.context() as patch:
        patch.setenv("LABELWISE_CACHE", str(tmp_path_factory.mktemp("cache")))
        yield


@pytest.fixture
def seeded() -> Iterator[torch.Generator]:
    """The same random numbers in every run, for modules' own start values and for a generator alike."""
    import torch

    with torch.random.fork_rng(devices=[]):
        torch.manual_seed(0)
        yield torch.Generator().manual_seed(1)
