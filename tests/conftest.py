"""For every test: the order of the run, a browser or a clear word about it, GPU tests only on a GPU."""

import ctypes
import os
import shutil
from functools import cache

import pytest

os.environ.setdefault("OMP_NUM_THREADS", "1")  # a worker a core: threads of small kernels would wait for each other
BROWSER_TESTS = "tests/browser/"
BROWSERS = ("chromium", "chromium-browser", "google-chrome", "google-chrome-stable", "chrome")


@cache
def _find_browser():
    return next(filter(None, map(shutil.which, BROWSERS)), None)


@cache
def _has_gpu():
    try:
        return ctypes.CDLL("libcuda.so.1").cuInit(0) == 0
    except OSError:
        return False


def pytest_report_header():
    return [
        f"browser: {_find_browser() or 'none found, browser tests cannot run'}",
        f"gpu: {'usable' if _has_gpu() else 'none, tests marked gpu are skipped'}",
    ]


@pytest.hookimpl(optionalhook=True, wrapper=True)
def pytest_xdist_auto_num_workers(config):
    """One more than there are cores where browsers and notebooks are driven: whoever drives them mostly waits."""
    cores = yield
    return cores + ("not browser" not in config.option.markexpr)


@pytest.hookimpl(optionalhook=True)
def pytest_xdist_make_scheduler(config, log):
    """A file is run by one worker; those of the browser are as one file, so that one JupyterLab and Chromium do."""
    from xdist.scheduler import LoadFileScheduling

    class Scheduling(LoadFileScheduling):
        def _split_scope(self, nodeid):
            file = super()._split_scope(nodeid)
            return BROWSER_TESTS if file.startswith(BROWSER_TESTS) else file

    return Scheduling(config, log)


def pytest_collection_modifyitems(items):
    """Quick answers first: plain tests, then slow ones, whole notebooks, the browser. Side by side it is the other way
    round: what is long begins first, and what is short fills the gaps at the end."""

    def has(item, mark):  # keywords would also see the names of folders
        return item.get_closest_marker(mark) is not None

    slow = {item.path for item in items if has(item, "slow")}

    def place(item):
        return has(item, "browser"), item.path.suffix == ".ipynb", item.path in slow, has(item, "slow")

    items.sort(key=place, reverse="PYTEST_XDIST_WORKER" in os.environ)
    for item in items:
        if has(item, "sweep") and "TRTLAB_SWEEP" not in os.environ:
            item.add_marker(pytest.mark.skip(reason="others sample it; make sweep runs it"))
        if has(item, "gpu") and not _has_gpu():
            item.add_marker(pytest.mark.skip(reason="no NVIDIA GPU with a working driver"))


@pytest.fixture(scope="session", autouse=True)
def own_data_folder(tmp_path_factory):
    """What tests answer is not what the user answered; kernels and servers that a test starts inherit this too."""
    os.environ["TRTLAB_DATA"] = str(tmp_path_factory.mktemp("data"))


@pytest.fixture(scope="session")
def browser_path():
    """Chromium or Chrome on this machine; without one the test is skipped, and on CI it fails."""
    path = _find_browser()
    if path is None:
        say = pytest.fail if os.environ.get("CI") == "true" else pytest.skip
        say(f"no browser found (looked for {', '.join(BROWSERS)}); on Debian or Ubuntu: apt install chromium")
    return path
