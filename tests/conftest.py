"""Shapes and types in signatures are checked while the tests run; the package must not be imported before."""

from __future__ import annotations

import gc
from collections.abc import Generator, Iterator
from typing import Any

import pytest
from _pytest.doctest import DoctestModule
from jaxtyping import install_import_hook

import typechecking  # noqa: F401 - before the hook takes jaxtyping's decorator
from longest_files import longest_first

install_import_hook("labelwise", "typechecking.checked")
gc.disable()  # until all is imported, which leaves little to collect

import torch  # noqa: E402

pytest_plugins = ("tiny_runs",)


@pytest.hookimpl(wrapper=True)
def pytest_collect_file() -> Generator[None, list[Any], list[Any]]:
    """The tests' own files hold no doctests; each would be searched by every worker."""
    found = yield
    return [collector for collector in found if not isinstance(collector, DoctestModule)]


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
    with torch.random.fork_rng(devices=[]):
        torch.manual_seed(0)
        yield torch.Generator().manual_seed(1)
