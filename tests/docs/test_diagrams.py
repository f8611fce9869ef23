"""Every diagram is drawn, by what GitHub draws it with."""

from __future__ import annotations

import shutil
from collections.abc import Iterator

import pytest
from playwright.sync_api import Page, sync_playwright

from tests.docs.pages import ROOT, Block, all_pages, blocks

pytestmark = pytest.mark.system

MERMAID = ROOT / "tests" / "system" / "mermaid" / "node_modules" / "mermaid" / "dist"
DIAGRAMS = [block for page in all_pages() for block in blocks(page, "mermaid")]
DRAW = """
async (text) => {
  mermaid.initialize({startOnLoad: false});
  await mermaid.parse(text);
  const {svg} = await mermaid.render("diagram", text);
  document.body.innerHTML = svg;
  const {width, height} = document.querySelector("svg").getBoundingClientRect();
  return {width, height, text: document.body.textContent};
}
"""


@pytest.fixture(scope="module")
def page() -> Iterator[Page]:
    """An empty page of Debian's Chromium that has Mermaid."""
    chromium = shutil.which("chromium")
    assert chromium is not None, "`make test-system` installs chromium"
    with sync_playwright() as playwright:
        browser = playwright.chromium.launch(
            executable_path=chromium, args=["--no-sandbox", "--disable-gpu"], timeout=0
        )
        page = browser.new_page(viewport={"width": 1200, "height": 900})
        page.set_default_timeout(0)  # the test's own holds
        page.set_content("<body></body>")
        page.add_script_tag(path=MERMAID / "mermaid.min.js")
        yield page
        browser.close()


def test_there_are_diagrams() -> None:
    assert len(DIAGRAMS) > 9


@pytest.mark.parametrize("diagram", DIAGRAMS, ids=lambda block: block.place)
def test_a_diagram_is_drawn(page: Page, diagram: Block) -> None:
    drawn = page.evaluate(DRAW, diagram.text)
    assert min(drawn["width"], drawn["height"]) > 100
    assert "Syntax error" not in drawn["text"]


def test_a_wrong_diagram_is_told(page: Page) -> None:
    with pytest.raises(Exception, match="Parse error"):
        page.evaluate(DRAW, "stateDiagram-v2\n    [*] --> -->\n")
