"""Shapes and types in signatures are checked while the tests run; the package must not be imported before."""

from __future__ import annotations

import gc
from collections.abc import Iterator

import pytest
from jaxtyping import install_import_hook

import typechecking  # noqa: F401 - before the hook takes jaxtyping's decorator
from longest_files import longest_first

install_import_hook("labelwise", "typechecking.checked")

import torch  # noqa: E402

pytest_plugins = ("tiny_runs",)
# Several modules of this name cannot be searched for doctests in one process.
collect_ignore_glob = ["conftest.py", "**/conftest.py"]


def pytest_collection_modifyitems(items: list[pytest.Item]) -> None:
    """The order in which workers are given files."""
    longest_first(items)


def pytest_collection_finish() -> None:
    """Modules and what they decorate stay to the end: later collections need not look through them."""
    gc.collect()
    gc.freeze()


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
