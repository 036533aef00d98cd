"""cli: what a person in a terminal sees. Exit 0 fine, 2 bad input in one paragraph or, asked for, as JSON; 130 after
Ctrl-C; no traceback.

Most tests call `main` in this process; a real process starts only where pipes, signals or `-m` are the matter.
"""

import contextlib
import hashlib
import io
import json
import os
import random
import re
import signal
import subprocess
import sys
import warnings
from collections import Counter
from dataclasses import replace
from pathlib import Path

import onnx
import pytest
from rich.text import Text

import trtlab
from trtlab import cli
from trtlab.cli import main
from trtlab.engine.machine import inspect_machine
from trtlab.engine.measure import Ratio, live
from trtlab.engine.networks import DIGITS_ONNX
from trtlab.engine.nvidia import BuildReport
from trtlab.engine.planfile import load_plan, manifest_path
from trtlab.lab import bench, builds

from .engine.nvidia import onnx_models as models
from .engine.nvidia.rtx import needs_rtx

LIGHT = Path(onnx.__file__).parent / "backend/test/data/light"
COMMAND = (sys.executable, "-m", "trtlab")
PROFILE = "image=1x1x8x8:16x1x8x8:64x1x8x8"
EXPLAIN = ("explain", "--compiler", "tensorrt_rtx")
PROFILES = ("image", "i=1:2:N", "i=1:2:3:4", "i=::")
"""Profiles that say nothing."""


@pytest.fixture
def tool(capsys, monkeypatch):
    """`tool("doctor", "--json")` -> (exit status, standard output, standard error), in a wide terminal."""
    monkeypatch.setenv("COLUMNS", "250")

    def call(*words):
        try:
            status = main([str(word) for word in words])
        except SystemExit as leaving:  # argparse
            status = leaving.code
        printed = capsys.readouterr()
        assert "Traceback" not in printed.out + printed.err
        return status, printed.out, printed.err

    return call


@pytest.fixture
def small(tmp_path):
    """A model of three nodes in a file."""
    path = tmp_path / "small.onnx"
    onnx.save(models.pointwise(), path)
    return path


@pytest.fixture
def built(monkeypatch):
    """Every build gives the recorded one of the digits, with some plan."""
    report = replace(builds.recorded("digits-FP32-SM89-dynamic"), plan=b"a plan")
    monkeypatch.setattr(trtlab, "explain", lambda *_words, **_options: report, raising=False)
    return report


def run(*words, **options):
    """A real process."""
    options = {"capture_output": True, "text": True, "timeout": 60, "check": False} | options
    return subprocess.run([*COMMAND, *words], **options)


def assert_refused(answer, *words):
    """Exit 2, nothing on standard output, one paragraph that holds `words`."""
    status, out, err = answer
    assert (status, out) == (2, "")
    assert err.startswith("trtlab: ")
    assert err.endswith(".\n")
    assert "\n\n" not in err
    assert all(len(line) <= 100 or " " not in line for line in err.splitlines())
    paragraph = " ".join(err.split())
    assert [word for word in words if word not in paragraph] == []


def assert_refused_as_json(answer, kind, *words):
    """Exit 2, nothing on standard error, an object on standard output whose texts hold `words`."""
    status, out, err = answer
    assert (status, err) == (2, "")
    error = json.loads(out)["error"]
    assert (list(error), error["type"]) == (["type", "message", "hint"], kind)
    assert [word for word in words if word not in f"{error['message']} {error['hint']}"] == []


# --- doctor ----------------------------------------------------------------------------------------------------------


def test_doctor_says_what_this_machine_can_do(tool):
    (status, out, err), (_, text, _), machine = tool("doctor"), tool("doctor", "--json"), inspect_machine()
    assert (status, err) == (0, "")
    assert f"{machine.cores} cores" in out
    for library in machine.libraries:
        assert re.search(rf"^{library.name} +\S+ +{'yes' if library.usable else 'no'}\b", out, re.MULTILINE)
    assert re.search(rf"^build: +{'yes' if machine.can_build else 'no'}", out, re.MULTILINE)
    assert re.search(rf"^execute: {'yes' if machine.can_execute else 'no .+ONNX Runtime stands in'}", out, re.MULTILINE)
    assert json.loads(text) == json.loads(json.dumps(machine.to_dict()))


# --- explain ---------------------------------------------------------------------------------------------------------


@needs_rtx
def test_explain_lists_the_kernels_of_a_real_network(tool):
    status, out, err = tool(*EXPLAIN, LIGHT / "light_squeezenet.onnx")
    assert (status, err) == (0, "")
    assert out.startswith("light_squeezenet: 105 ONNX nodes (+ 52 constants)\n  -> ")
    kernels = int(re.search(r"-> (\d+) kernels on \d+ streams? for SM89", out)[1])
    assert 0 < kernels < 105
    rows = re.findall(r"^(\d+) +\S+ +(?:Float|Int32)", out, re.MULTILINE)
    assert rows == [str(number) for number in range(kernels)]
    assert re.search(
        r"plan [\d,]+ B, activations [\d,]+ B, weights [\d,]+ B\n +check \d+\.\d+ s, parse .+, build ", out
    )
    assert out.splitlines()[-1].startswith("LIVE on ")


@needs_rtx
def test_explain_json_is_a_build_report_and_plan_saves_it(tool, small, tmp_path):
    path = tmp_path / "small.plan"
    status, out, err = tool(*EXPLAIN, small, "--json", "--target", "sm_120", "--plan", path)
    assert (status, err) == (0, "")
    report, (plan, manifest) = BuildReport.from_json(out), load_plan(path)
    assert (report.model_name, report.targets) == ("small", ("SM120",))
    assert [kernel.onnx_nodes for kernel in report.kernels] == [("mul", "add", "relu")]
    assert (report.plan, len(report.plan_sha256)) == (b"", 64)
    assert (manifest.model_name, manifest.targets, manifest.sha256) == ("small", ("SM120",), report.plan_sha256)
    assert report.plan_size_bytes == len(plan) > 1000
    assert sorted(tmp_path.iterdir()) == sorted([small, path, manifest_path(path)])


@needs_rtx
def test_profile_opens_a_dynamic_model(tool):
    assert_refused(
        tool(*EXPLAIN, DIGITS_ONNX), "no optimization profile", "Pass --profile image=1x1x8x8:8x1x8x8:32x1x8x8"
    )
    status, out, _ = tool(*EXPLAIN, DIGITS_ONNX, "--profile", PROFILE, "--json")
    (profile,) = BuildReport.from_json(out).profiles
    assert status == 0
    assert profile.shapes == (("image", (1, 1, 8, 8), (16, 1, 8, 8), (64, 1, 8, 8)),)


@needs_rtx
def test_a_model_is_read_from_standard_input_and_nobody_waits_for_one_that_is_not_piped(tool, small, monkeypatch):
    done = run(*EXPLAIN, "-", "--json", input=small.read_bytes(), text=False)
    report = BuildReport.from_json(done.stdout)
    assert (done.returncode, report.model_name, len(report.kernels)) == (0, "stdin", 1)
    assert report.model_sha256 == hashlib.sha256(small.read_bytes()).hexdigest()
    keyboard = io.TextIOWrapper(io.BytesIO())
    monkeypatch.setattr("sys.stdin", keyboard)
    assert_refused_as_json(tool(*EXPLAIN, "-", "--json"), "ModelError", "is empty: 0 bytes.")
    keyboard.isatty = lambda: True
    assert_refused_as_json(tool(*EXPLAIN, "x" * 300, "--json"), "ModelError", "xxx cannot be read: File name too long.")
    answer = tool("explain", "-", "--json")
    assert_refused_as_json(answer, "UsageError", "nothing is piped", "trtlab explain - < MODEL.onnx")


@pytest.mark.usefixtures("built")
@pytest.mark.parametrize("mask", [0o022, 0o077])
def test_a_plan_is_as_open_as_the_umask_lets_it_be_and_one_replaced_stays_as_it_was(tool, tmp_path, mask):
    path = tmp_path / "small.plan"
    before = os.umask(mask)
    try:
        for mode in (0o666 & ~mask, 0o604):
            assert tool("explain", "small.onnx", "--plan", path)[0] == 0
            assert [oct(one.stat().st_mode & 0o777) for one in (path, manifest_path(path))] == [oct(mode)] * 2
            for one in (path, manifest_path(path)):
                one.chmod(0o604)
    finally:
        os.umask(before)


# --- width and colour ------------------------------------------------------------------------------------------------


@pytest.mark.parametrize(("columns", "gone"), [(40, 4), (66, 3), (80, 2), (133, 0)])
def test_everything_fits_the_terminal_and_no_kernel_is_lost(tool, built, monkeypatch, columns, gone):
    monkeypatch.setenv("COLUMNS", str(columns))
    (_, out, _), (_, text, _) = tool("explain", "digits.onnx"), tool("doctor")
    assert max(map(len, (out + text).splitlines())) <= columns
    rows = re.findall(r"^(\d+) ", out, re.MULTILINE)
    assert rows == [str(number) for number in range(len(built.kernels))]
    left_out = re.search(r"left out: ([\w, ]+);", " ".join(out.split()))
    assert (left_out[1].split(", ") if left_out else []) == ["stream", "type", "dtype", "output"][:gone]


def test_tables_of_any_words_fit_and_keep_every_letter(capsys, monkeypatch):
    """Random cells, random widths; what was in a column is in it, spaces aside."""
    draw = random.Random(5)
    for _ in range(50):
        header = tuple("abcd"[: draw.randint(1, 4)])
        rows = [["".join(draw.choices("xy_./é ", k=draw.choice((0, 3, 40, 300)))) for _ in header] for _ in range(5)]
        columns = draw.randint(30, 140)
        monkeypatch.setenv("COLUMNS", str(columns))
        cli._print_table(rows, header, ("b", "c"))
        printed = capsys.readouterr().out
        table, _, gone = printed.partition("(left out: ")
        assert max(map(len, printed.splitlines())) <= columns
        kept = [name not in gone.split(";")[0] for name in header]
        shown = "".join(cell for row in rows for cell, stays in zip(row, kept, strict=True) if stays)
        letters = "".join(table.split("\n", 2)[2].split())
        assert Counter(letters) == Counter("".join(shown.split()))


def test_a_name_is_broken_only_where_no_line_holds_it_and_one_is_one(tool, built, monkeypatch, capsys):
    monkeypatch.setenv("COLUMNS", "14")
    cli._print_table([("node_a + node_linear + a.name_as_long_as_two",), ("卷积一层两层三层四",)], ("nodes",))
    lines = capsys.readouterr().out.split("\n")[2:]
    assert lines == [
        "node_a +",
        "node_linear +",
        "a.name_as_long",
        "_as_two",
        "卷积一层两层三",
        "层四",
        "",
    ]  # wide letters
    monkeypatch.setenv("COLUMNS", "100")
    report = replace(built, steps=built.steps[1:2], onnx_nodes=1)
    monkeypatch.setattr(trtlab, "explain", lambda *_words, **_options: report)
    assert re.search(r": 1 ONNX node \(.*\n  -> 1 kernel on 1 stream for", tool("explain", "x.onnx")[1], re.DOTALL)


def test_colour_is_for_terminals_and_for_those_who_want_it(monkeypatch):
    import pty

    ours, theirs = pty.openpty()
    done = run("doctor", capture_output=False, stdout=theirs, env={**os.environ, "TERM": "xterm", "NO_COLOR": ""})
    os.close(theirs)
    assert done.returncode == 0
    assert b"\x1b[32myes" in rest_of(ours)
    terminal = io.StringIO()
    for is_terminal, environment in ((False, {}), (True, {"NO_COLOR": "1"}), (True, {"TERM": "dumb"})):
        terminal.isatty = lambda is_terminal=is_terminal: is_terminal
        with monkeypatch.context() as here:
            for name, value in ({"TERM": "xterm", "NO_COLOR": ""} | environment).items():
                here.setenv(name, value)
            assert cli._drawn(Text("yes", "green"), terminal, 9) == "yes"


def rest_of(terminal):
    """What a pseudo-terminal still has, whose other end is closed: end of file, as Linux says it."""
    seen = b""
    with contextlib.suppress(OSError):
        while part := os.read(terminal, 10000):
            seen += part
    os.close(terminal)
    return seen


# --- bad input -------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("words", "kind", "said"),
    [
        (["\x1b[31mred.onnx"], "ModelError", ["red.onnx does not exist", "Expected the path of an .onnx file."]),
        (["no.onnx", "--plan", ""], "PlanFileError", ["The plan . is a folder."]),
        (["small.onnx", "--plan", "./small.onnx"], "PlanFileError", ["The plan small.onnx is the model itself."]),
        (["small.onnx", *["--profile", "a=1:1:1"] * 2], "ProfileError", ["names an input twice. Expected one profile"]),
        (["no.onnx", "--plan", "."], "PlanFileError", ["The plan . is a folder."]),
        (["no.onnx", "--plan", "/dev/null"], "PlanFileError", ["The plan /dev/null is no regular file."]),
        (
            ["no.onnx", "--plan", "missing/x.plan"],
            "PlanFileError",
            ["missing/x.plan", "there is no folder missing"],
        ),
        (["small.onnx", "--profile", "ghost=1:2:3"], "ProfileError", ["'ghost', which is no input", "a, b, c"]),
        (["small.onnx", "--target", "SM90"], "UnsupportedTarget", ["cannot build for 'SM90'. Expected one of SM75, "]),
        (["small.onnx", "--timeout", "0"], "BuildError", ["timeout_s is 0.0. Expected a number of seconds above 0"]),
    ],
)
@needs_rtx
def test_bad_input_is_answered_in_one_paragraph_and_as_json(tool, small, monkeypatch, words, kind, said):
    monkeypatch.chdir(small.parent)
    answer = tool(*EXPLAIN, *words)
    assert_refused(answer, *said)
    assert "\x1b" not in answer[2]  # steers no terminal
    assert_refused_as_json(tool(*EXPLAIN, *words, "--js"), kind, *said)


def test_a_file_that_cannot_be_written_is_said_in_both_forms(tool, monkeypatch):
    def fails(*_words):
        raise PermissionError(13, "Permission denied", "x.plan")

    monkeypatch.setattr("trtlab.engine.machine.inspect_machine", fails)
    assert_refused(tool("doctor"), "x.plan: Permission denied.")
    assert_refused_as_json(tool("doctor", "--json"), "OSError", "x.plan: Permission denied.")


@pytest.mark.parametrize(
    ("words", "said"),
    [
        (["explain"], ["required: MODEL.onnx"]),
        (["explain", "x.onnx", "--compiler", "gcc"], ["'gcc'"]),
        (["bench", "nothing"], ["codec"]),
        (["explain", "x.onnx", "--bogus"], ["unrecognized arguments: --bogus", "trtlab explain [-h]"]),
        (["bench", "codec", "x"], ["unrecognized arguments: x", "trtlab bench [-h]"]),
        (["dance"], ["invalid choice: 'dance'", "doctor"]),
        *((["explain", "x", f"--profile={text}"], [f"{text!r} is not NAME=MIN:OPT:MAX"]) for text in PROFILES),
    ],
)
def test_words_that_are_not_understood_alone_and_under_json(tool, words, said):
    status, out, err = tool(*words)
    assert (status, out) == (2, "")
    assert err.startswith("usage: trtlab")
    assert "\ntrtlab: " in err
    assert [word for word in said if word not in " ".join(err.split())] == []
    assert_refused_as_json(tool(*words, "--json"), "UsageError", *said, "usage: trtlab")
    assert tool()[:2] == (2, "")


@needs_rtx
def test_a_name_in_a_model_cannot_steer_the_terminal_and_is_spelled_out_where_it_cannot_be_written(
    tool, tmp_path, monkeypatch
):
    model, path = models.pointwise(), tmp_path / "names.onnx"
    for node, name in zip(model.graph.node, ["\x1b[2Jmul\rfine", "乘法é", "relu"], strict=True):
        node.name = name
    onnx.save(model, path)
    status, out, _ = tool(*EXPLAIN, path, "--log")
    assert (status, "\x1b" in out, "\r" in out) == (0, False, False)
    assert r"\x1b[2Jmul\rfine + 乘法é" in out
    assert {"VERBOSE", "INFO"} <= set(re.findall(r"^\[(\w+)\] .+", out, re.MULTILINE))
    for form, shown in (((), r"\u4e58\u6cd5\xe9 + relu"), (("--json",), r'"\u4e58\u6cd5\u00e9"')):
        written = io.BytesIO()
        monkeypatch.setattr("sys.stdout", io.TextIOWrapper(written, encoding="ascii", write_through=True))
        assert main([*EXPLAIN, str(path), *form]) == 0
        assert shown in written.getvalue().decode("ascii")


# --- processes -------------------------------------------------------------------------------------------------------


def test_python_m_trtlab_and_the_script_that_is_installed():
    done = run("--version")
    assert (done.returncode, done.stdout, done.stderr) == (0, f"trtlab {trtlab.__version__}\n", "")
    script = Path(sys.executable).with_name("trtlab")
    done = subprocess.run([script, "explain", "missing.onnx"], capture_output=True, text=True, check=False, timeout=60)
    assert_refused((done.returncode, done.stdout, done.stderr), "missing.onnx does not exist")


@needs_rtx
def test_a_reader_that_leaves_early_is_no_error():
    """`trtlab explain ... --log | head -1`: the log is larger than any pipe."""
    command = [*COMMAND, *EXPLAIN, str(LIGHT / "light_squeezenet.onnx"), "--log"]
    with subprocess.Popen(command, stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True) as process:
        assert process.stdout.readline().startswith("light_squeezenet: ")
        process.stdout.close()
        assert process.stderr.read() == ""
        assert process.wait(60) == 0


def test_no_standard_output_breaks_nothing_and_a_full_disk_is_said():
    for number, words, status in ((2, ["nope"], 2), (2, ["explain", "nope.onnx"], 2), (0, ["explain", "-"], 2)):
        done = run(*words, capture_output=False, stderr=subprocess.PIPE, preexec_fn=lambda n=number: os.close(n))
        assert (done.returncode, "Traceback" in done.stderr) == (status, False)
    done = run("doctor", stdout=None, capture_output=False, stderr=subprocess.PIPE, preexec_fn=lambda: os.close(1))
    assert (done.returncode, done.stderr) == (0, "")
    if Path("/dev/full").exists():
        with Path("/dev/full").open("w") as full:
            done = run("doctor", stdout=full, capture_output=False, stderr=subprocess.PIPE)
        assert done.returncode == 2
        assert "Standard output: No space left on device" in done.stderr
        assert "Traceback" not in done.stderr


@needs_rtx
def test_ctrl_c_ends_a_build_at_once_and_quietly():
    """Progress is shown when standard error is a terminal; the interrupt comes in the middle of the build."""
    import pty

    ours, theirs = pty.openpty()
    model = str(LIGHT / "light_densenet121.onnx")
    with subprocess.Popen([*COMMAND, *EXPLAIN, model], stdout=subprocess.PIPE, stderr=theirs, text=True) as process:
        os.close(theirs)
        seen = b""
        while b"Optimizing graph" not in seen:
            seen += os.read(ours, 1000)
        process.send_signal(signal.SIGINT)
        assert process.stdout.read() == ""
        assert process.wait(20) == 130
    assert b"Traceback" not in seen + rest_of(ours)


def test_bench_prints_ratios_with_peer_target_and_provenance(tool, monkeypatch):
    peer = {"value": 90.0, "bound": 150.0, "unit": "ms", "peer": "bare Python, subtracted", "provenance": live()}
    made = Ratio(name="import", what="import trtlab", **peer)
    monkeypatch.setitem(bench.BENCHES, "import", lambda: [made, replace(made, what="slower", value=151.0)])
    (status, out, err), (_, text, _) = tool("bench", "import"), tool("bench", "import", "--json")
    assert (status, err) == (0, "")
    with monkeypatch.context() as here:
        here.setattr("sys.stderr.isatty", lambda: True)
        assert "import: measuring" in tool("bench", "import")[2]
    assert re.search(r"import +import trtlab +90 ms +<= 150 ms +met +bare Python, subtracted", out)
    assert re.search(r"import +slower +151 ms +<= 150 ms +MISSED", out)
    assert out.splitlines()[-1].startswith("LIVE on ")
    with monkeypatch.context() as here:
        here.setitem(bench.BENCHES, "import", lambda: warnings.warn("no peer", stacklevel=1) or [])
        warnings.simplefilter("always")  # until the test ends
        assert tool("bench", "import", "--json") == (0, "[]\n", "trtlab: no peer.\n")
    ratio, _ = json.loads(text)
    assert (ratio["name"], ratio["bound"], ratio["unit"]) == ("import", 150.0, "ms")
    assert (ratio["provenance"]["origin"], ratio["met"]) == ("LIVE", True)
