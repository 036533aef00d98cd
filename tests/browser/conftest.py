"""One JupyterLab, one Voila and one Chromium for all browser tests; one page with one kernel for those of widgets."""

import shutil
from pathlib import Path

import pytest
from playwright.sync_api import sync_playwright

from .labpage import CHROMIUM_FLAGS, SCREEN, LabPage, lab_server, notebook_page
from .voilapage import VoilaPage, voila_server

NOTEBOOKS = Path(__file__).parents[2] / "notebooks"


@pytest.fixture(scope="package")
def lab_folder(tmp_path_factory):
    """A copy of notebooks/, so that nothing a test does reaches the checkout."""
    return Path(shutil.copytree(NOTEBOOKS, tmp_path_factory.mktemp("lab") / "notebooks"))


@pytest.fixture(scope="package")
def lab_url(lab_folder, tmp_path_factory):
    with lab_server(lab_folder, tmp_path_factory.mktemp("jupyter")) as url:
        yield url


@pytest.fixture(scope="package")
def chromium(browser_path):
    with sync_playwright() as playwright:
        browser = playwright.chromium.launch(executable_path=browser_path, args=list(CHROMIUM_FLAGS))
        yield browser
        browser.close()


@pytest.fixture(scope="package")
def _one_page(chromium, lab_url, lab_folder):
    with notebook_page(chromium, lab_url, lab_folder, "widgets.ipynb", [""] * 8) as page:
        yield page


@pytest.fixture
def lab(_one_page):
    """The page on which tests `show` widgets, with the kernel that those before have used; nothing goes wrong on it."""
    if not _one_page.is_ready():  # a test of the whole server may have ended every kernel
        _one_page.open("widgets.ipynb")
    _one_page.page.set_viewport_size(SCREEN)
    yield _one_page
    _one_page.assert_clean()


@pytest.fixture
def lab_page(chromium, lab_url):  # chromium first: without a browser no server is started
    context = chromium.new_context(viewport={"width": 1280, "height": 900})
    page = LabPage(context, lab_url)
    yield page
    page.close()
    context.close()


@pytest.fixture(scope="package")
def voila_url(lab_folder, tmp_path_factory):
    with voila_server(lab_folder, tmp_path_factory.mktemp("voila")) as url:
        yield url


@pytest.fixture
def voila(chromium, lab_folder, voila_url):
    context = chromium.new_context(viewport=SCREEN)
    page = VoilaPage(context, voila_url, lab_folder)
    yield page
    page.assert_clean()
    page.close()
    context.close()
