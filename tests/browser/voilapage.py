"""A notebook as Voila serves it: only its outputs, with a kernel behind them."""

import contextlib

from .labpage import LabPage, serving, write_notebook

FONT_AWESOME = "fortawesome"  # Voila itself asks a content network for it and goes on without


@contextlib.contextmanager
def voila_server(notebooks, scratch, wait_s=60):
    """Voila on the folder `notebooks`; yields its address."""
    with serving("voila", ["--Voila.ip=127.0.0.1", str(notebooks)], scratch, "/voila/tree", wait_s) as url:
        yield url


class VoilaPage(LabPage):
    """A page of Voila. What Voila asks others for is left out of `console_errors` and `external_requests`."""

    kind = "voila"

    def __init__(self, context, url, folder):
        super().__init__(context, url)
        self.folder = folder

    def show(self, *sources):
        """A notebook of these cells as Voila serves it."""
        write_notebook(self.folder / "voila.ipynb", sources)
        self.open("voila.ipynb")

    def open(self, notebook, timeout_s=60):
        """Open `notebook`; Voila runs its cells and shows the page when it is done."""
        self.page.goto(f"{self.url}/voila/render/{notebook}", timeout=timeout_s * 1000)

    def assert_clean(self):
        for noted in (self.console_errors, self.external_requests):
            noted[:] = [text for text in noted if FONT_AWESOME not in text]
        super().assert_clean()

    def error_outputs(self):
        return self.page.locator(".jp-OutputArea-output[data-mime-type*=error]").all_inner_texts()

    def close(self):
        """Leaving the page ends its kernel."""
        self.page.goto("about:blank")
