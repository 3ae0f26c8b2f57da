"""The site that `make site` built: pages, links, figures, search, and readers who see or type differently."""

from html.parser import HTMLParser
from pathlib import Path
from urllib.parse import unquote, urlsplit

import pytest
from axe_playwright_python.sync_playwright import Axe

SITE = Path(__file__).parents[2] / "build" / "site"
LESSONS = sorted(path.stem for path in (Path(__file__).parents[2] / "notebooks").glob("[0-9]*.ipynb"))
PAGES = ["index", "contracts", "glossary", "results", "instructor", "launch", "api/index", "api/models"]
PAGES += [f"notebooks/{lesson}" for lesson in LESSONS]


class Links(HTMLParser):
    """What a page points to, and the places in it that can be pointed to."""

    def __init__(self, path):
        super().__init__()
        self.targets, self.places = [], {""}
        self.feed(path.read_text(encoding="utf-8"))

    def handle_starttag(self, tag, attributes):
        attributes = dict(attributes)
        self.places.add(attributes.get("id") or "")
        self.targets += [attributes[name] for name in ("href", "src") if attributes.get(name)]


@pytest.fixture(scope="module", autouse=True)
def _site():
    if not SITE.is_dir():
        pytest.skip("The site is not there: make site builds it.")


@pytest.fixture
def page(browser):
    """A page that notes every request for anything but files."""
    page = browser.new_page(viewport={"width": 1280, "height": 1000})
    page.requests = []
    page.on("request", lambda request: page.requests.append(request.url))
    yield page
    page.close()


def address(name):
    return (SITE / f"{name}.html").as_uri()


def test_links_inside_the_site_lead_somewhere():
    pages = [path for path in SITE.rglob("*.html") if "_static" not in path.parts]
    known = {path.resolve(): Links(path) for path in pages}
    dead = []
    for path, links in known.items():
        for target in links.targets:
            parts = urlsplit(target)
            if parts.scheme or parts.netloc:
                continue
            there = (path.parent / unquote(parts.path)).resolve() if parts.path else path
            if not there.exists() or (there in known and unquote(parts.fragment) not in known[there].places):
                dead.append(f"{path.relative_to(SITE)}: {target}")

    assert dead == []


@pytest.mark.parametrize("name", PAGES)
def test_a_page_opens_from_disk_with_all_its_pictures_and_asks_nobody(page, name, screenshots):
    page.goto(address(name), wait_until="load")
    page.screenshot(path=screenshots / f"site_{name.replace('/', '_')}.png")

    assert [url for url in page.requests if not url.startswith(("file:", "data:"))] == []
    images = (
        "[...document.querySelectorAll('article img')].map(i => [i.src.slice(-60), i.naturalWidth, i.alt])"
    )
    shown = page.evaluate(images)
    assert [image for image in shown if image[1] == 0] == []
    assert [image for image in shown if len(image[2]) < 15] == []
    assert len(shown) >= 2 * name.startswith("notebooks/")
    assert page.evaluate("document.documentElement.scrollWidth <= document.documentElement.clientWidth")


@pytest.mark.parametrize("name", PAGES)
def test_a_page_passes_the_checks_of_axe(page, name):
    page.goto(address(name), wait_until="load")

    found = Axe().run(page).response["violations"]

    serious = [rule for rule in found if rule["impact"] in ("serious", "critical")]
    assert {rule["id"]: rule["nodes"][0]["html"][:200] for rule in serious} == {}


def test_search_works_without_a_server(page):
    page.goto(address("search") + "?q=patch", wait_until="load")

    page.wait_for_selector("#search-results li a")
    assert "patching" in page.locator("#search-results").inner_text().lower()


def test_the_keyboard_reaches_the_text_first(page):
    page.goto(address("index"), wait_until="load")

    page.keyboard.press("Tab")

    assert "skip to main content" in page.evaluate("document.activeElement.innerText").lower()
    page.keyboard.press("Enter")
    assert page.url.endswith("#main-content")


def test_formulas_are_drawn_by_the_browser(page):
    page.goto(address("notebooks/70_pretraining"), wait_until="load")

    heights = page.evaluate(
        "[...document.querySelectorAll('math')].map(m => m.getBoundingClientRect().height)"
    )
    assert len(heights) >= 5
    assert min(heights) > 5
