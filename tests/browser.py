"""A page in headless Chromium, for tests and pictures of what people look at."""

from __future__ import annotations

import shutil
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from pathlib import Path
from typing import Any

import pytest

CHROMIUM = shutil.which("chromium") or shutil.which("chromium-browser") or shutil.which("chrome")
needs_chromium = pytest.mark.skipif(CHROMIUM is None, reason="no Chromium is installed")

# Nothing is fetched on the browser's own account.
_ARGUMENTS = (
    "--no-sandbox", "--disable-gpu", "--no-first-run", "--disable-background-networking",
    "--disable-component-update", "--disable-sync",
)  # fmt: skip


class Page:
    """An open page.

    Attributes:
        driver: The page of Playwright, for what has no method here.
        errors: What the console called an error, and exceptions that no script caught.
        requests: Addresses that were asked for, the page's own first.
    """

    def __init__(self, driver: Any) -> None:
        self.driver = driver
        self.errors: list[str] = []
        self.requests: list[str] = []
        driver.on("console", self._said)
        driver.on("pageerror", lambda error: self.errors.append(str(error)))
        driver.on("request", lambda request: self.requests.append(request.url))

    def _said(self, message: Any) -> None:
        if message.type == "error":
            self.errors.append(message.text)

    async def text(self, css: str = "body") -> str:
        """Return the text that is visible within the first element that matches."""
        return str(await self.driver.locator(css).first.inner_text())

    async def wait_for(self, css: str, timeout_s: float = 30.0) -> None:
        """Wait until an element that matches is visible."""
        await self.driver.locator(css).first.wait_for(timeout=1000 * timeout_s)

    async def screenshot(self, path: Path, *, full: bool = False) -> None:
        """Write what is seen, or the whole page, as PNG."""
        await self.driver.screenshot(path=path, full_page=full)


@asynccontextmanager
async def browser_page(
    url: str, *, width: int = 1280, height: int = 900, dark: bool = False
) -> AsyncIterator[Page]:
    """Open an address (``file://`` too) in a fresh headless browser, and wait until it is loaded.

    Args:
        url: What is opened.
        width: Of the window, in CSS pixels; up to 500 it is a phone's.
        height: Of the window, in CSS pixels.
        dark: Whether the page is asked to be dark.
    """
    from playwright.async_api import async_playwright

    async with async_playwright() as playwright:
        browser = await playwright.chromium.launch(executable_path=CHROMIUM, args=_ARGUMENTS)
        try:
            context = await browser.new_context(
                viewport={"width": width, "height": height},
                color_scheme="dark" if dark else "light",
                is_mobile=width <= 500,
            )
            page = Page(await context.new_page())
            await page.driver.goto(url, wait_until="load")
            yield page
        finally:
            await browser.close()
