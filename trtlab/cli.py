"""cli: the door of the terminal. `trtlab doctor`, `trtlab explain MODEL`, `trtlab bench`; each with --json.

In: command-line words. Out: tables as wide as the terminal (or COLUMNS), coloured where one is, or JSON on standard
output. Exit 0 fine; 2 bad input, with one readable paragraph on standard error, or with --json
`{"error": {"type", "message", "hint"}}` on standard output; never a traceback; 130 after Ctrl-C.
"""

import argparse
import io
import json
import os
import shutil
import sys
import textwrap
import warnings
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import Any, NoReturn

import trtlab
from trtlab.lab.bench import BENCHES, run_benches

BAD_INPUT = 2
NARROW = 24  # a column that must be narrower than this makes another one go
COLOURS = {"yes": "green", "met": "green", "no": "red", "MISSED": "red"}


class _Misunderstood(Exception):
    """Words that are no command: (what is wrong, how it goes)."""


class _Parser(argparse.ArgumentParser):
    def error(self, message: str) -> NoReturn:
        raise _Misunderstood(message, self.format_usage())


def main(arguments: Sequence[str] | None = None) -> int:
    """Run one command and return its exit status."""
    words = [*(sys.argv[1:] if arguments is None else arguments)]
    as_json = any(len(word) > 2 and "--json".startswith(word) for word in words)
    if isinstance(sys.stdout, io.TextIOWrapper):  # a name that this terminal cannot write is no reason to fail
        sys.stdout.reconfigure(errors="backslashreplace")
    sys.stderr = sys.stderr or Path(os.devnull).open("w")  # noqa: SIM115 - None after `2>&-`
    try:
        with warnings.catch_warnings():
            warnings.showwarning = lambda warning, *_rest: _tell(f"trtlab: {warning}.")
            status = _run(words, as_json)
        print(end="", flush=True)
    except BrokenPipeError:  # `trtlab explain ... | head`
        os.dup2(os.open(os.devnull, os.O_WRONLY), sys.stdout.fileno())
        return 0
    except OSError as error:  # without a name it is standard output that fails
        as_json = as_json and bool(error.filename)
        return _complain("OSError", f"{error.filename or 'Standard output'}: {error.strerror}.", as_json=as_json)
    except KeyboardInterrupt:
        return 130
    return status


def _run(words: Sequence[str], as_json: bool) -> int:
    from trtlab.engine.nvidia.errors import CompilerError

    if not words:
        _parser().print_help(sys.stderr)
        return BAD_INPUT
    try:
        options, unknown = _parser().parse_known_args(words)
        if unknown:
            options.parser.error(f"unrecognized arguments: {' '.join(unknown)}")  # with the command's own usage
        options.command(options)
    except _Misunderstood as error:
        what, usage = error.args
        if not as_json:
            sys.stderr.write(usage)
        return _complain("UsageError", f"{what}.", usage if as_json else "", as_json)
    except CompilerError as error:
        return _complain(type(error).__name__, error.what, _hint(error), as_json)
    return 0


def _hint(error: Any) -> str:
    """The way out, in the words of the terminal where Python's would not help."""
    shapes = error.details.get("shapes")
    if not shapes:
        return str(error.hint)
    words = {name: ":".join("x".join(map(str, shape)) for shape in three) for name, three in shapes.items()}
    texts = " ".join(f"--profile {name}={three}" for name, three in words.items())
    return f"Pass {texts}: minimum, optimum and maximum shapes."


def _complain(kind: str, text: str, hint: str = "", as_json: bool = False) -> int:
    """Tell what is wrong and the way out, to people on standard error or to programs on standard output."""
    if as_json:
        _print_json({"error": {"type": kind, "message": text, "hint": " ".join(hint.split())}})
    else:
        _tell(f"trtlab: {text} {hint}")
    return BAD_INPUT


def _tell(text: str) -> None:
    """A paragraph on standard error."""
    from rich.text import Text

    said = Text(_plain(" ".join(text.split())), overflow="ignore")
    said.highlight_regex("^trtlab:", "red")
    print(_drawn(said, sys.stderr, min(_columns(), 100)), file=sys.stderr)


def _drawn(what: Any, stream: Any, width: int) -> str:
    """What rich makes of it; in colour where the stream is a terminal with colours, and NO_COLOR is not set."""
    from rich.console import Console

    screen = Console(file=stream, width=width, highlight=False)
    with screen.capture() as made:
        screen.print(what)
    return "\n".join(map(str.rstrip, made.get().splitlines()))


def _plain(text: str) -> str:
    """`text` with control characters spelled out: a name in a model must not steer the terminal."""
    return "".join(letter if letter.isprintable() else ascii(letter)[1:-1] for letter in text)


def _parser() -> argparse.ArgumentParser:
    parser = _Parser(prog="trtlab", description="A workbook for TensorRT interviews: look, build, measure.")
    parser.add_argument("--version", action="version", version=f"trtlab {trtlab.__version__}")
    commands = parser.add_subparsers(title="commands", required=True, metavar="COMMAND")
    _add(commands, "doctor", _doctor, "what this machine can do: build, execute, and if not, why")
    explain = _add(commands, "explain", _explain, "build any ONNX model with NVIDIA's compiler and list its kernels")
    explain.add_argument("model", metavar="MODEL.onnx", type=_model, help="- reads standard input")
    explain.add_argument("--target", help="SM89 (default), several as SM86,SM120, or portable; none for tensorrt")
    explain.add_argument(
        "--profile", action="append", default=[], type=_profile, metavar="NAME=MIN:OPT:MAX",
        help="shapes of a dynamic input, such as image=1x3x224x224:8x3x224x224:32x3x224x224; repeat for more inputs",
    )  # fmt: skip
    help_of = "default: tensorrt with a GPU, else tensorrt_rtx"
    explain.add_argument("--compiler", choices=("tensorrt", "tensorrt_rtx"), help=help_of)
    explain.add_argument("--plan", metavar="FILE", help="also save the plan, with a manifest beside it")
    explain.add_argument("--log", action="store_true", help="print the builder's whole log after the table")
    explain.add_argument("--timeout", type=float, default=600.0, metavar="SECONDS", help="give up then; default 600")
    bench = _add(commands, "bench", _bench, "measured ratios, each with its peer and target")
    bench.add_argument("name", nargs="?", choices=sorted(BENCHES), help="one benchmark; default all: minutes")
    return parser


def _add(commands: Any, name: str, command: Callable[[argparse.Namespace], None], text: str) -> argparse.ArgumentParser:
    parser: argparse.ArgumentParser = commands.add_parser(name, help=text, description=text)
    parser.add_argument("--json", action="store_true", help="machine-readable output")
    parser.set_defaults(command=command, parser=parser)
    return parser


def _print_json(values: Any) -> None:
    print(json.dumps(values, indent=2))  # ASCII, so that it stays JSON in every encoding


def _print_table(rows: Sequence[Sequence[Any]], header: Sequence[str], drop: Sequence[str] = ()) -> None:
    """Columns side by side in the width there is: those of `drop` go first, in that order, then what is long wraps."""
    from rich.box import Box
    from rich.cells import cell_len
    from rich.table import Table
    from rich.text import Text

    table = zip(*[[_plain(str(cell)) for cell in row] for row in [header, *rows]], strict=True)
    columns = {column[0]: column for column in table}
    gone: list[str] = []
    for name in drop:
        if sum(min(max(map(cell_len, column)), NARROW) + 2 for column in columns.values()) - 2 > _columns():
            columns.pop(name, None)
            gone.append(name)
    line = Box("    \n    \n -  \n" + 5 * "    \n", ascii=True)
    grid = Table(*columns, box=line, show_edge=False, pad_edge=False, padding=(0, 1, 0, 0))
    for row in list(zip(*columns.values(), strict=True))[1:]:
        grid.add_row(*(Text(cell, COLOURS.get(cell, ""), overflow="fold") for cell in row))
    print(_drawn(grid, sys.stdout, _columns()))
    if gone:
        _say(f"(left out: {', '.join(gone)}; a wider terminal, or COLUMNS, shows more, --json everything)")


def _say(text: str) -> None:
    """One line, continued below itself where the terminal ends."""
    print(textwrap.fill(_plain(text), _columns(), subsequent_indent="    ", break_on_hyphens=False))


def _columns() -> int:
    return shutil.get_terminal_size().columns


# --- doctor ---------------------------------------------------------------------------------------------------------


def _doctor(options: argparse.Namespace) -> None:
    from trtlab.engine.machine import inspect_machine

    machine = inspect_machine()
    if options.json:
        _print_json(machine.to_dict())
        return
    memory = f"{machine.memory_bytes / 2**30:.1f} GiB"
    _say(f"{machine.system}, {machine.processor}, {machine.cores} cores, {memory}, Python {machine.python}")
    _say(f"instruction sets: {' '.join(machine.isa) or 'unknown'}")
    _say(f"CUDA driver:      {machine.driver.version or machine.driver.why_not}")
    for gpu in machine.driver.gpus:
        size = f"{gpu.memory_bytes / 2**30:.0f} GiB, {gpu.multiprocessors} multiprocessors"
        _say(f"GPU:              {gpu.name}, {gpu.target}, {size}")
    print()
    rows = [(a.name, a.version or "-", "yes" if a.usable else "no", a.why_not or "") for a in machine.libraries]
    _print_table(rows, ("library", "version", "usable", "why not"))
    print()
    builds = f"yes, with {machine.compiler} for {', '.join(machine.targets)}"
    _say(f"build:   {builds if machine.can_build else 'no'}")
    _say(f"execute: {'yes' if machine.can_execute else f'no ({machine.why_not_execute}); ONNX Runtime stands in'}")


# --- explain --------------------------------------------------------------------------------------------------------


def _explain(options: argparse.Namespace) -> None:
    from trtlab.engine.nvidia.errors import ProfileError
    from trtlab.engine.planfile import check_place, save_plan

    is_piped = isinstance(options.model, bytes)
    if options.plan is not None:  # before the build, which may take minutes
        check_place(Path(options.plan), Path("-" if is_piped else options.model))
    if len(profiles := dict(options.profile)) < len(options.profile):
        raise ProfileError("--profile names an input twice.", hint="Expected one profile for each input.")
    report = trtlab.explain(
        options.model, options.target, name="stdin" if is_piped else None, profiles=profiles,
        compiler=options.compiler, timeout_s=options.timeout,
        on_progress=lambda now: _note("" if now.done else f"{now.seconds:6.1f} s  {now.name}"),
    )  # fmt: skip
    if options.plan:
        save_plan(report, options.plan)
    if options.json:
        _print_json(json.loads(report.without_plan().to_json()))
        return
    _print_report(report)
    if options.log:
        print()
        for line in report.log:
            print(f"[{line.severity}]", "\n".join(map(_plain, line.text.split("\n"))))


def _model(text: str) -> str | bytes:
    if text != "-":
        return text
    if sys.stdin is None or sys.stdin.isatty():
        raise argparse.ArgumentTypeError("nothing is piped into standard input; say: trtlab explain - < MODEL.onnx")
    return sys.stdin.buffer.read()


def _profile(text: str) -> tuple[str, tuple[tuple[int, ...], ...]]:
    name, _, shapes = text.rpartition("=")
    try:
        smallest, optimal, largest = (tuple(int(size) for size in shape.split("x")) for shape in shapes.split(":"))
    except ValueError:
        raise argparse.ArgumentTypeError(f"{text!r} is not NAME=MIN:OPT:MAX, such as x=1x8:8x8:32x8") from None
    return name, (smallest, optimal, largest)


def _note(text: str) -> None:
    """What runs now, in place of the note before; on a terminal alone."""
    if sys.stderr.isatty():
        print(end=f"\r\x1b[K{text[: _columns() - 1]}", file=sys.stderr, flush=True)


def _print_report(report: Any) -> None:
    from trtlab.numeric.units import counted

    layers, constants = report.layer_counts
    streams = len({kernel.stream for kernel in report.kernels})
    beside = counted(report.onnx_constants, "constant")
    _say(f"{report.model_name}: {counted(report.onnx_nodes, 'ONNX node')} (+ {beside})")
    _say(f"  -> {counted(layers, 'network layer')} (+ {counted(constants, 'constant')})")
    where = ", ".join(report.targets) or "this GPU"
    _say(f"  -> {counted(len(report.kernels), 'kernel')} on {counted(streams, 'stream')} for {where}")
    sizes = {"plan": report.plan_size_bytes, "activations": report.activation_bytes, "weights": report.weights_bytes}
    _say("  " + ", ".join(f"{name} {'unknown' if size is None else f'{size:,} B'}" for name, size in sizes.items()))
    _say("  " + ", ".join(f"{p.name} {p.seconds:.3f} s" for p in report.phases if p.parent is None))
    print()
    rows = []
    for number, k in enumerate(report.kernels):
        shape = "x".join(map(str, k.outputs[0].shape)) or "scalar" if k.outputs else "-"
        rows.append((number, k.type, k.dtype, k.stream, shape, k.name, " + ".join(k.onnx_nodes) or "-"))
    header = ("#", "type", "dtype", "stream", "output", "kernel", "ONNX nodes merged into it")
    _print_table(rows, header, ("stream", "type", "dtype", "output"))
    print()
    _say(report.provenance.line())


# --- bench ----------------------------------------------------------------------------------------------------------


def _bench(options: argparse.Namespace) -> None:
    results = run_benches(options.name, lambda name: _note(f"{name}: measuring, which may take minutes"))
    _note("")
    if options.json:
        _print_json([result.to_dict() for result in results])
        return
    rows = [(r.name, r.what, r.shown_value, r.target, "met" if r.met else "MISSED", r.peer) for r in results]
    _print_table(rows, ("bench", "what", "value", "target", "", "peer, same run"))
    print()
    for line in dict.fromkeys(result.provenance.line() for result in results):
        _say(line)
