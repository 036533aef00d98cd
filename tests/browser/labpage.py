"""A real JupyterLab and the page a learner sees, with everything that goes wrong written down."""

import contextlib
import os
import socket
import subprocess
import sys
import time
import urllib.request
from pathlib import Path
from urllib.parse import urlsplit

import nbformat

CHROMIUM_FLAGS = (
    "--no-sandbox",
    "--disable-gpu",
    "--disable-quic",
    "--no-first-run",
    "--disable-background-networking",
    "--disable-component-update",
    "--disable-sync",
)
SCREEN = {"width": 1366, "height": 768}
LOCAL_HOSTS = {"localhost", "127.0.0.1", "", None}  # no host: data: and blob:

_PANEL = "window.jupyterapp?.shell.currentWidget"
_READY = f"() => {_PANEL}?.sessionContext?.session?.kernel?.connectionStatus === 'connected'"
_RUN_ALL = """() => {
    window.allRan = false;
    window.jupyterapp.commands.execute('notebook:run-all-cells').finally(() => { window.allRan = true; });
}"""
# The kernel's status may read idle while a cell is still [*], so only the prompts count.
_ALL_RAN = f"""() => window.allRan && {_PANEL}.content.widgets.every(
    cell => !cell.node.querySelector('.jp-InputPrompt')?.textContent.includes('*'))"""
_RUN_ONE = f"""async ([number, source]) => {{
    const {{ content }} = {_PANEL};
    content.activeCellIndex = number < 0 ? content.widgets.length + number : number;
    if (source !== null) content.activeCell.model.sharedModel.setSource(source);
    await window.jupyterapp.commands.execute('notebook:run-cell');
}}"""
_END = f"""() => {{
    const session = {_PANEL}?.sessionContext?.session;
    return session && window.jupyterapp.serviceManager.sessions.shutdown(session.id);
}}"""
_CELLS = f"() => {_PANEL}.content.model.sharedModel.toJSON().cells"
_CONTENT_HEIGHT = f"""() => {{
    document.querySelector('.jp-NotebookPanel .jp-WindowedPanel-outer').scrollTop = 0;
    return {_PANEL}.content.widgets.at(-1).node.getBoundingClientRect().bottom;
}}"""


@contextlib.contextmanager
def lab_server(notebooks: Path, scratch: Path, wait_s: float = 60):
    """JupyterLab on `notebooks` with settings of its own under `scratch`; yields its address."""
    flags = ["--allow-root", "--expose-app-in-browser", "--ip=127.0.0.1", "--ServerApp.port_retries=0"]
    flags += [f"--ServerApp.root_dir={notebooks}", "--IdentityProvider.token=", "--ServerApp.password="]
    with serving("jupyterlab", [*flags, "--LabApp.extension_manager=readonly"], scratch, "/api/status", wait_s) as url:
        yield url


@contextlib.contextmanager
def serving(module, flags, scratch: Path, status: str, wait_s: float):
    """`python -m module` on a free port, until its page `status` answers; yields its address."""
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        port = probe.getsockname()[1]
    own = ("JUPYTER_CONFIG_DIR", "JUPYTER_DATA_DIR", "JUPYTER_RUNTIME_DIR", "IPYTHONDIR")
    own += ("JUPYTERLAB_SETTINGS_DIR", "JUPYTERLAB_WORKSPACES_DIR")
    log = scratch / f"{module}.log"
    with log.open("w") as sink:
        env = {**os.environ, **{name: str(scratch / name.lower()) for name in own}}
        command = [sys.executable, "-m", module, "--no-browser", f"--port={port}", *flags]
        server = subprocess.Popen(command, env=env, stdout=sink, stderr=subprocess.STDOUT)
    url = f"http://127.0.0.1:{port}"
    try:
        _wait_until_up(url + status, server, log, wait_s)
        yield url
    finally:
        server.terminate()
        try:
            server.wait(20)
        except subprocess.TimeoutExpired:
            server.kill()
            server.wait()


def write_notebook(path: Path, sources):
    """A notebook of these code cells; what is a cell already stays what it is."""
    kernel = {"kernelspec": {"display_name": "Python 3", "language": "python", "name": "python3"}}
    cells = [one if isinstance(one, dict) else nbformat.v4.new_code_cell(one) for one in sources]
    nbformat.write(nbformat.v4.new_notebook(cells=cells, metadata=kernel), path)


@contextlib.contextmanager
def notebook_page(chromium, url, folder: Path, name: str, sources):
    """A page on a new notebook of these cells, with a kernel of its own."""
    write_notebook(folder / name, sources)
    context = chromium.new_context(viewport=SCREEN)
    page = LabPage(context, url)
    page.open(name)
    yield page
    page.close()
    context.close()


def _wait_until_up(url, server, log, wait_s):
    deadline = time.monotonic() + wait_s
    while time.monotonic() < deadline and server.poll() is None:
        with contextlib.suppress(OSError), urllib.request.urlopen(url, timeout=5):
            return
        time.sleep(0.2)
    raise RuntimeError(f"{url} did not answer within {wait_s} s:\n{log.read_text()[-3000:]}")


DETACHED = "Failed to execute 'removeChild' on 'Node'"


class LabPage:
    """One browser page on JupyterLab: open, run, look, and know what went wrong meanwhile.

    `console_errors` and `external_requests` fill up by themselves; a request to another host is refused,
    as if the machine were offline.
    """

    kind = "lab"

    def __init__(self, context, url):
        self.url = url
        self.console_errors: list[str] = []
        self.external_requests: list[str] = []
        context.route(lambda address: urlsplit(address).hostname not in LOCAL_HOSTS, self._refuse)
        self.page = context.new_page()
        self.page.on("console", self._on_console)
        self.page.on("pageerror", self._on_error)
        self.page.on("websocket", lambda socket: self._note_host(socket.url))

    def _refuse(self, route):
        self._note_host(route.request.url)
        route.abort()

    def _note_host(self, address):
        if urlsplit(address).hostname not in LOCAL_HOSTS:
            self.external_requests.append(address)

    def _on_error(self, error):
        """An uncaught error counts, unless it is the one that JupyterLab's own windowing raises when a busy machine
        resizes and restyles a notebook at once; an error out of a widget names a blob: address in its stack."""
        own = "blob:" in (error.stack or "")
        if own or DETACHED not in str(error):
            self.console_errors.append(str(error))

    def _on_console(self, message):
        if message.type == "error":
            self.console_errors.append(f"{message.text} ({message.location.get('url', '')})")

    def open(self, notebook, timeout_s=60):
        """Open `notebook` (a path below the server's folder) in a fresh workspace and wait for its kernel."""
        self.page.goto(f"{self.url}/lab/tree/{notebook}?reset")
        self.page.wait_for_function(_READY, timeout=timeout_s * 1000)

    def is_ready(self):
        """Whether its kernel is there."""
        return self.page.evaluate(_READY)

    def run_all(self, timeout_s=300):
        """Run every cell and wait until no prompt shows [*]; returns the cells as saved in a file."""
        self.page.evaluate(_RUN_ALL)
        self.page.wait_for_function(_ALL_RAN, timeout=timeout_s * 1000)
        return self.cells()

    def close(self):
        """End its kernel."""
        self.page.evaluate(_END)

    def show(self, *sources):
        """Run these in the first cells, in the kernel that is there; all others are emptied first."""
        used = [number for number, cell in enumerate(self.cells()) if cell["source"]]
        for number in reversed(used):
            self.page.evaluate(_RUN_ONE, [number, ""])
        for number, source in enumerate(sources):
            self.page.evaluate(_RUN_ONE, [number, source])

    def run(self, number):
        """Run a cell again as it stands; -1 is the last."""
        self.page.evaluate(_RUN_ONE, [number, None])

    def ask(self, question):
        """What the last cell prints: what Python holds."""
        self.page.evaluate(_RUN_ONE, [-1, f"print({question})"])
        return self.cells()[-1]["outputs"][0]["text"].strip()

    def cells(self):
        return self.page.evaluate(_CELLS)

    def assert_clean(self):
        """No cell failed, the console is silent, and nothing left this machine."""
        assert (self.error_outputs(), self.console_errors, self.external_requests) == ([], [], [])

    def error_outputs(self):
        """`name: value` of every error shown below a cell."""
        outputs = [out for cell in self.cells() for out in cell.get("outputs", [])]
        return [f"{out['ename']}: {out['evalue']}" for out in outputs if out["output_type"] == "error"]

    def kernel_property(self, name):
        return self.page.evaluate(f"name => {_PANEL}.sessionContext.session.kernel[name]", name)

    def set_theme(self, theme):
        """`theme` is "light" or "dark"; JupyterLab saves it in its settings, as its menu does."""
        change = "theme => window.jupyterapp.commands.execute('apputils:change-theme', { theme })"
        self.page.evaluate(change, f"JupyterLab {theme.title()}")
        self.page.wait_for_selector(f"body[data-jp-theme-light='{str(theme == 'light').lower()}']", state="attached")

    def screenshot(self, name, whole=False):
        """Save `name`.png in the folder $TRTLAB_SCREENSHOTS; returns its path (None where none is set).

        `whole` makes the window as tall as the notebook first.
        """
        folder = os.environ.get("TRTLAB_SCREENSHOTS")
        if not folder:
            return None
        before = self.page.viewport_size
        if whole:
            for _ in range(3):  # cells out of sight report an estimated height first
                height = min(round(self.page.evaluate(_CONTENT_HEIGHT)) + 60, 16_000)
                self.page.set_viewport_size({**before, "height": max(height, before["height"])})
                self.page.wait_for_timeout(300)
        path = Path(folder) / f"{name}.png"
        self.page.screenshot(path=path)
        self.page.set_viewport_size(before)
        return path
