"""Dagster's pages in a real browser: what a person sees of a workflow."""

from __future__ import annotations

import shutil
from collections.abc import Iterator

import pytest
from playwright.sync_api import Page, expect, sync_playwright

from idp_kernel.services import DEFAULT_PORTS
from idp_kernel.workflows import APPLICATION_ENVIRONMENT_PROVISIONING
from tests.e2e.platform import Platform, Subject

pytestmark = [pytest.mark.e2e, pytest.mark.system]

PATIENCE_MS = 120_000
"""Its first page takes seconds of a processor that others want as well."""


@pytest.fixture
def page() -> Iterator[Page]:
    """A page of Debian's Chromium with an empty profile."""
    chromium = shutil.which("chromium")
    assert chromium is not None, "`make test-system` installs chromium"
    with sync_playwright() as playwright:
        browser = playwright.chromium.launch(
            executable_path=chromium,
            args=["--no-sandbox", "--disable-gpu", "--disable-background-networking"],
            timeout=PATIENCE_MS,
        )
        page = browser.new_page(viewport={"width": 1400, "height": 860})
        page.set_default_timeout(PATIENCE_MS)
        yield page
        browser.close()


def test_a_finished_run_shows_its_steps(platform: Platform, subject: Subject, page: Page) -> None:
    request = platform.ended(platform.provision(subject)["requestId"])
    run_id = request["attempts"][-1]["runId"]
    page.goto(platform.url(DEFAULT_PORTS.dagster_webserver, f"/runs/{run_id}"))
    expect(page.get_by_text("Success", exact=True).first).to_be_visible(timeout=PATIENCE_MS)
    for step in APPLICATION_ENVIRONMENT_PROVISIONING.steps:
        expect(page.get_by_text(step).first).to_be_attached(timeout=PATIENCE_MS)


def test_the_launchpad_asks_for_environment_and_reason(platform: Platform, page: Page) -> None:
    job = APPLICATION_ENVIRONMENT_PROVISIONING.phase(1).job_name
    page.goto(
        platform.url(
            DEFAULT_PORTS.dagster_webserver,
            f"/locations/idp/jobs/{job}/playground",
        )
    )
    for field in ("application_environment_id", "reason"):
        expect(page.get_by_text(field).first).to_be_visible(timeout=PATIENCE_MS)
