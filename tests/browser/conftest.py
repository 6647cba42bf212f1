"""A browser without a window, and pages in it that a test fails with."""

from __future__ import annotations

import re
import shutil
from collections.abc import Callable, Iterator
from contextlib import AbstractContextManager, contextmanager
from typing import Any

import pytest

OWN = re.compile(r"(http://127\.0\.0\.1:\d+/|blob:|data:)")


@pytest.fixture(scope="module")
def browser() -> Iterator[Any]:
    """One for a file: its event loop runs until it ends, and other tests need their own."""
    sync = pytest.importorskip("playwright.sync_api", reason="no playwright to drive a browser with")
    chromium = next(filter(None, map(shutil.which, ("chromium", "chromium-browser", "google-chrome"))), None)
    if chromium is None:
        pytest.skip("no chromium on this machine")
    with sync.sync_playwright() as driver:
        yield driver.chromium.launch(executable_path=chromium, args=["--no-sandbox"])


@pytest.fixture(params=[(390, 844, "dark"), (1280, 900, "light")], ids=["phone", "desk"])
def open_page(request: pytest.FixtureRequest, browser: Any) -> Callable[..., AbstractContextManager[Any]]:
    """Opens a page of either width.

    It fails the test on an error of its own but those that contain `excused`, on a request elsewhere, and where it is
    too wide.
    """
    width, height, scheme = request.param

    @contextmanager
    def opened(excused: str = "", script: str = "", timeout: int = 20_000) -> Iterator[Any]:
        context = browser.new_context(
            viewport={"width": width, "height": height}, color_scheme=scheme, accept_downloads=True
        )
        context.add_init_script(script)
        page = context.new_page()
        page.set_default_timeout(timeout)
        faults: list[str] = []
        errors = lambda m: m.type == "error" and not (excused and excused in m.text)  # noqa: E731
        page.on("request", lambda asked: None if OWN.match(asked.url) else faults.append(asked.url))
        page.on("pageerror", lambda error: faults.append(str(error)))
        page.on("console", lambda m: faults.append(m.text) if errors(m) else None)
        yield page
        assert page.evaluate("document.documentElement.scrollWidth") <= width
        context.close()
        assert faults == []

    return opened
