"""A real browser: Chromium without a window."""

from pathlib import Path

import pytest
from playwright.sync_api import sync_playwright

from eeglab_models.workshop.doctor import find_browser

ROOT = Path(__file__).parents[2]
# Without a sandbox because containers give none to root; the rest keeps it from calling home.
QUIET = [
    "--no-sandbox",
    "--disable-gpu",
    "--no-first-run",
    "--disable-background-networking",
    "--disable-sync",
]


@pytest.fixture(scope="session")
def browser():
    with sync_playwright() as playwright:
        own = playwright.chromium.executable_path
        found = own if Path(own).exists() else find_browser()
        if found is None:
            pytest.skip(
                "There is no Chromium: apt install chromium, or .venv/bin/playwright install chromium."
            )
        browser = playwright.chromium.launch(executable_path=found, args=QUIET)
        yield browser
        browser.close()


@pytest.fixture(scope="session")
def screenshots():
    folder = ROOT / "build" / "screenshots"
    folder.mkdir(parents=True, exist_ok=True)
    return folder
