"""engine/nvidia/worker: crashes, timeouts, cancels, interrupts, threads and forks, with real children.

Nothing here may leave a child process behind, and after every accident the next build must succeed.
"""

import functools
import os
import signal
import subprocess
import sys
import textwrap
import threading
import time
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

import onnx
import pytest

from trtlab.engine.nvidia.errors import (
    BuildCancelled,
    BuildCrashed,
    BuildError,
    BuildTimeout,
    CompilerMissing,
    ModelError,
)
from trtlab.engine.nvidia.report import BuildRequest
from trtlab.engine.nvidia.worker import POOL, Pool

from . import onnx_models as models
from .rtx import build, merged, needs_rtx

INCEPTION = Path(onnx.__file__).parent / "backend/test/data/light/light_inception_v1.onnx"
SETTLE_S = 10
linux = pytest.mark.skipif(not Path("/proc").is_dir(), reason="looks at processes through /proc")


@pytest.fixture(autouse=True)
def _still_works():
    """After every test the pool builds."""
    yield
    assert merged(build(models.pointwise())) == [("mul", "add", "relu")]


def eventually(condition):
    """Whether `condition()` becomes true within SETTLE_S."""
    deadline = time.monotonic() + SETTLE_S
    while not condition() and time.monotonic() < deadline:
        time.sleep(0.05)
    return condition()


def is_running(pid):
    """False once the process is gone, or a zombie whose last thread has ended."""
    try:
        state = Path(f"/proc/{pid}/stat").read_text().rpartition(")")[2].split()[0]
        return state != "Z" or len(list(Path(f"/proc/{pid}/task").iterdir())) > 1
    except (FileNotFoundError, ProcessLookupError):
        return False


def compiler_children(pid=None):
    """Running compiler processes whose parent is `pid` (this process)."""
    found = []
    for folder in Path("/proc").glob("[0-9]*"):
        try:
            command = (folder / "cmdline").read_bytes()
            parent = int((folder / "stat").read_text().rpartition(")")[2].split()[1])
        except (FileNotFoundError, ProcessLookupError):
            continue
        if b"trtlab.engine.nvidia.child" in command and parent == (pid or os.getpid()):
            found.append(int(folder.name))
    return found


def run_python(script, **options):
    command = [sys.executable, "-c", textwrap.dedent(script)]
    return subprocess.Popen(command, stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True, **options)


pytestmark = [needs_rtx, linux]


# --- crashes ---------------------------------------------------------------------------------------------------------


def test_a_valid_model_that_kills_the_builder_is_survived_and_nothing_of_a_dead_worker_stays():
    """Opset-23 Attention in FP16 with one tensor as query and key: onnx.checker is content, the builder dies."""
    before = threading.active_count()
    for _ in range(3):
        with pytest.raises(BuildCrashed, match=r"SIGSEGV") as caught:
            build(models.attention(same_query_and_key=True))
        assert caught.value.details["signal"] == "SIGSEGV"
        assert caught.value.details["phase"] not in ("start", "check", "parse")
        assert build(models.attention()).kernels
    assert threading.active_count() <= before + 1


def kill_children_on(name):
    """A progress listener that ends this process's compilers when phase `name` starts."""

    def listen(event):
        if event.name == name and not event.done:
            for pid in compiler_children():
                os.kill(pid, signal.SIGKILL)

    return listen


def test_a_child_killed_from_outside_is_a_crash():
    POOL.close()
    with pytest.raises(BuildCrashed, match=r"was killed from outside \(SIGKILL\) during .*Often memory") as caught:
        build(INCEPTION, on_progress=kill_children_on("Optimizing graph"))
    assert caught.value.details["signal"] == "SIGKILL"


def test_an_idle_child_that_was_killed_is_replaced_and_nobody_hears_of_it():
    build(models.pointwise())
    children = compiler_children()
    for pid in children:
        os.kill(pid, signal.SIGKILL)
    assert eventually(lambda: not any(map(is_running, children)))
    assert build(models.pointwise()).kernels


def test_a_child_that_dies_between_two_tasks_is_replaced_by_the_worker_itself(pool):
    """The pool saw it alive; it is gone when the task comes. A second death at once is reported."""
    build = functools.partial(pool.ask, "tensorrt_rtx", "build", BuildRequest(targets=("SM89",)), timeout_s=60)
    data = models.pointwise().SerializeToString()
    assert build(block=data)[0].steps
    (worker,) = pool._idle
    os.kill(worker._process.pid, signal.SIGSTOP)
    threading.Timer(0.3, os.kill, (worker._process.pid, signal.SIGKILL)).start()
    assert build(block=data)[0].steps
    assert pool._idle != [worker]


# --- patience --------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize("phase", ["parse", "Optimizing graph"])
def test_cancel_within_a_second_and_before_a_build_began(phase):
    cancel, cancelled_at = threading.Event(), []

    def listen(event):
        if event.name == phase and not event.done and not cancelled_at:
            cancelled_at.append(time.monotonic())
            threading.Thread(target=cancel.set).start()

    with pytest.raises(BuildCancelled):
        build(INCEPTION, cancel=cancel, on_progress=listen)
    assert time.monotonic() - cancelled_at[0] < 1.0
    with pytest.raises(BuildCancelled):
        build(INCEPTION, cancel=cancel)


def test_a_build_that_takes_too_long():
    with pytest.raises(BuildTimeout, match=r"timeout_s=0\.05 .*Give it more time"):
        build(INCEPTION, timeout_s=0.05)


@pytest.mark.parametrize("interrupt", [KeyboardInterrupt, ZeroDivisionError])
def test_an_interrupt_or_an_error_in_a_listener_passes_through_and_ends_the_build(interrupt):
    POOL.close()
    building = []

    def listen(event):
        if event.name == "Optimizing graph":
            building.extend(compiler_children())
            raise interrupt("mine")

    with pytest.raises(interrupt, match="mine"):
        build(INCEPTION, on_progress=listen)
    assert len(building) == 1
    assert eventually(lambda: not is_running(building[0]))


# --- several at once -------------------------------------------------------------------------------------------------


def test_threads_build_at_once_and_each_gets_its_own():
    makers = {"convs": models.parallel_convs, "pointwise": models.pointwise}
    alone = {name: build(make(), name=name) for name, make in makers.items()}
    names = list(makers) * 6
    with ThreadPoolExecutor(5) as threads:  # more than there are places
        reports = list(threads.map(lambda name: build(makers[name](), name=name), names))
    for name, report in zip(names, reports, strict=True):
        assert (report.model_name, report.plan, report.steps) == (name, alone[name].plan, alone[name].steps)
    assert len(compiler_children()) <= 2


def test_a_fork_builds_for_itself():
    """In a process of its own: forking this one, which has threads, is not clean."""
    process = run_python(
        f"""
        import gc, os, sys
        from trtlab.engine.nvidia import explain
        from trtlab.engine.nvidia.worker import POOL
        build = lambda: explain({models.pointwise().SerializeToString()!r}, compiler="tensorrt_rtx").plan
        first = build()
        pid = os.fork()
        second = build()
        gc.collect()
        POOL.close()
        if pid == 0:
            os._exit(0 if second == first else 1)
        _, status = os.waitpid(pid, 0)
        sys.exit(os.waitstatus_to_exitcode(status) or int(not first == second == build()))
        """
    )
    _, errors = process.communicate(timeout=120)
    assert process.returncode == 0, errors


def test_a_main_module_without_a_guard_runs_once(tmp_path):
    """A worker must not import what started it: it would build again, and start a worker, and so on."""
    path = tmp_path / "script.py"
    path.write_text(
        "print('ran')\nfrom trtlab.engine.nvidia import explain\n"
        f"explain({models.pointwise().SerializeToString()!r}, compiler='tensorrt_rtx')\n"
    )
    done = subprocess.run([sys.executable, str(path)], check=True, timeout=60, capture_output=True, text=True)
    assert (done.stdout, done.stderr) == ("ran\n", "")


# --- no child is left ------------------------------------------------------------------------------------------------


@pytest.mark.parametrize("ending", ["exits", "is killed in the middle of a build"])
def test_no_child_outlives_its_parent(ending):
    """A process that builds, waits for a line, and then ends."""
    last = "sys.exit(0)" if ending == "exits" else f"explain({str(INCEPTION)!r}, on_progress=say, **how)"
    script = "import sys; from trtlab.engine.nvidia import explain; how = {'compiler': 'tensorrt_rtx'}"
    script += "; say = lambda event: print(event.name, flush=True)"
    script += f"; explain({models.pointwise().SerializeToString()!r}, **how); print('built', flush=True); input(); "
    process = run_python(script + last, stdin=subprocess.PIPE)
    assert process.stdout.readline() == "built\n"
    children = compiler_children(process.pid)
    assert children
    process.stdin.write("\n")
    process.stdin.flush()
    if ending != "exits":
        while "Optimizing graph" not in process.stdout.readline():
            assert process.poll() is None
        process.kill()
    process.communicate(timeout=60)
    assert eventually(lambda: not any(map(is_running, children)))


# --- a compiler that misbehaves: small packages on PYTHONPATH stand for broken installations -------------------------


@pytest.fixture
def fake_compiler(tmp_path, monkeypatch):
    """A function that writes a `tensorrt_rtx` package which the next child will import."""

    def write(text):
        (tmp_path / "tensorrt_rtx.py").write_text(textwrap.dedent(text))
        monkeypatch.setenv("PYTHONPATH", os.pathsep.join(filter(None, [str(tmp_path), os.environ.get("PYTHONPATH")])))
        POOL.close()

    yield write
    monkeypatch.undo()
    POOL.close()


@pytest.mark.parametrize(
    ("source", "kind", "said"),
    [
        ("raise ImportError('no lib')", CompilerMissing, "ImportError: no lib.*pip install tensorrt.rtx"),
        ("import os; os.write(2, b'dying'); os._exit(3)", CompilerMissing, "dying.*pip install tensorrt.rtx"),
        (
            """
            __version__ = "0"
            class ILogger: pass
            class NetworkDefinitionCreationFlag: pass
            def Builder(logger): raise RuntimeError("no such thing")
            """,
            BuildError, "RuntimeError: no such thing.*this is a defect",
        ),
    ],
)  # fmt: skip
def test_a_compiler_that_is_broken_is_an_error_with_its_words(fake_compiler, source, kind, said):
    fake_compiler(source)
    with pytest.raises(kind, match=said):
        build(models.pointwise())


def test_prints_on_standard_output_do_not_corrupt_frames(fake_compiler):
    fake_compiler(
        """
        import os, sys
        print("hello from the import", flush=True)
        os.write(1, b"straight to the descriptor\\n" * 100)
        sys.path[:] = [p for p in sys.path if p != os.path.dirname(__file__)]
        del sys.modules["tensorrt_rtx"]
        import tensorrt_rtx
        sys.modules["tensorrt_rtx"] = tensorrt_rtx
        """
    )
    report = build(models.pointwise())
    assert merged(report) == [("mul", "add", "relu")]
    stray = [line.text for line in report.log if line.severity == "STDERR"]
    assert "hello from the import" in stray
    assert stray.count("straight to the descriptor") == 100


# --- the worker and the pool themselves ------------------------------------------------------------------------------


@pytest.fixture
def pool():
    pool = Pool()
    yield pool
    pool.close()


def test_a_worker_is_used_again_and_an_error_is_no_crash(pool):
    """The child that reported an error serves the next request."""
    pool.warm("tensorrt_rtx")
    pool.warm("tensorrt_rtx")
    (worker,) = pool._idle
    ask = functools.partial(pool.ask, "tensorrt_rtx", "build", timeout_s=60)
    with pytest.raises(ModelError, match="empty"):
        ask(BuildRequest(targets=("SM89",)))
    with pytest.raises(ModelError, match=r"cannot be read: /gone\.onnx: No such file"):
        ask(BuildRequest(path="/gone.onnx"))
    report, plan, _ = ask(BuildRequest(targets=("SM89",)), block=models.pointwise().SerializeToString())
    assert report.plan_size_bytes == len(plan) > 1000
    assert pool._idle == [worker]
    worker.kill()
    worker.kill()
    assert not worker.is_alive
