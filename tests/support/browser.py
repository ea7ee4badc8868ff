"""A real browser without a window: what a page does when a person opens it."""

import shutil
import time
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from axe_playwright_python.sync_playwright import Axe
from playwright.sync_api import Page, sync_playwright

CHROMIUM = shutil.which("chromium") or shutil.which("google-chrome") or shutil.which("chrome")
DESKTOP, PHONE = (1280, 900), (390, 844)

# One by one: a page with many players would load them all at once otherwise.
_PLAYERS = """async () => {
  const found = [];
  for (const audio of document.querySelectorAll('audio')) {
    await new Promise((done) => {
      if (audio.readyState >= 1 || audio.error) return done();
      audio.onloadedmetadata = audio.onerror = done;
      audio.load();
    });
    found.push({label: audio.getAttribute('aria-label'), seconds: audio.duration,
                error: audio.error && audio.error.message});
  }
  return found;
}"""

_COLOURS = """(names) => Object.fromEntries(names.map((name) =>
  [name, getComputedStyle(document.documentElement).getPropertyValue('--' + name).trim()]))"""


@dataclass
class Opened:
    """A page that was opened, and what it did."""

    page: Page
    load_seconds: float
    errors: list[str] = field(default_factory=list)
    requests: list[str] = field(default_factory=list)

    def players(self) -> list[dict[str, Any]]:
        """Every player once its sound's metadata is there: label, seconds and error."""
        return self.page.evaluate(_PLAYERS)

    def colours(self, *names: str) -> dict[str, str]:
        """Colours that its style sheet names."""
        return self.page.evaluate(_COLOURS, names)

    def offences(self) -> list[str]:
        """What of the page as it stands axe-core finds against WCAG 2.1 A and AA: rule and element.

        Contrast of every text that is shown is among what it looks at.
        """
        options = {"runOnly": ["wcag2a", "wcag2aa", "wcag21a", "wcag21aa"]}
        found = Axe().run(self.page, options=options).response["violations"]
        return [f"{rule['id']}: {node['html']}" for rule in found for node in rule["nodes"]]


@contextmanager
def browser_at(
    where: Path | str, size: tuple[int, int] = DESKTOP, **context: Any
) -> Iterator[Opened]:
    """Opens a file or an address and waits until it has loaded; the browser ends with the block.

    Its microphone is one that beeps. `context` is what Playwright takes, `color_scheme` perhaps.
    """
    arguments = [
        "--disable-background-networking",
        "--autoplay-policy=no-user-gesture-required",
        "--use-fake-device-for-media-stream",
        "--use-fake-ui-for-media-stream",
    ]
    address = where if isinstance(where, str) else where.resolve().as_uri()
    with sync_playwright() as playwright:
        browser = playwright.chromium.launch(
            executable_path=CHROMIUM, args=arguments, chromium_sandbox=False
        )
        try:
            page = browser.new_page(viewport={"width": size[0], "height": size[1]}, **context)
            opened = Opened(page, 0.0)
            page.on("pageerror", lambda error: opened.errors.append(str(error)))
            page.on(
                "console",
                lambda said: opened.errors.append(said.text) if said.type == "error" else None,
            )
            page.on("request", lambda request: opened.requests.append(request.url))
            begun = time.perf_counter()
            page.goto(address, wait_until="load")
            opened.load_seconds = round(time.perf_counter() - begun, 2)
            yield opened
        finally:
            browser.close()
