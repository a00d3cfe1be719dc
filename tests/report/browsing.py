"""Pages in headless Chromium: opened, with the check that the console and the network stayed silent."""

import shutil
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import pytest

BROWSER = next(filter(None, map(shutil.which, ("chromium", "chromium-browser", "google-chrome"))), None)
ARGUMENTS = ["--headless=new", "--no-sandbox", "--disable-gpu", "--disable-background-networking", "--no-first-run"]
MARKS = [
    pytest.mark.browser,
    pytest.mark.skipif(BROWSER is None, reason="no chromium, chromium-browser or google-chrome on the path"),
]


@contextmanager
def launched() -> Iterator[Any]:
    sync_api = pytest.importorskip("playwright.sync_api", reason="playwright is not installed")
    with sync_api.sync_playwright() as playwright:
        browser = playwright.chromium.launch(executable_path=BROWSER, args=ARGUMENTS)
        yield browser
        browser.close()


@contextmanager
def opened(browser: Any, where: Path | str, **options: Any) -> Iterator[Any]:
    """The page, complete with its player; at the end, it must have complained of nothing and asked nobody else."""
    url = where.as_uri() if isinstance(where, Path) else where
    page = browser.new_page(**{"viewport": {"width": 1280, "height": 900}} | options)
    trouble: list[str] = []
    page.on("console", lambda m: trouble.append(f"{m.type}: {m.text}"))
    page.on("pageerror", lambda e: trouble.append(f"error: {e}"))
    page.on("request", lambda r: r.url == url or r.url.startswith("data:") or trouble.append(r.url))
    page.goto(url)
    if page.locator("[data-player]").count():
        page.locator(".panel").nth(1).wait_for()  # recordings are unpacked in the background
    yield page
    page.close()
    assert trouble == []
