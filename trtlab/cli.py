"""cli: the door of the terminal. `trtlab doctor`, `trtlab explain MODEL`, `trtlab bench`; each with --json.

In: command-line words. Out: plain tables or JSON on standard output. Exit 0 fine, 2 bad input with one readable
paragraph on standard error, never a traceback; 130 after Ctrl-C.
"""

import argparse
import io
import json
import os
import shutil
import sys
import textwrap
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import Any

import trtlab
from trtlab.lab.bench import BENCHES, run_benches

Rows = Sequence[Sequence[Any]]
BAD_INPUT = 2
INTERRUPTED = 130


def main(arguments: Sequence[str] | None = None) -> int:
    """Run one command and return its exit status."""
    options = _parser().parse_args(arguments)
    from trtlab.engine.nvidia.errors import CompilerError

    if isinstance(sys.stdout, io.TextIOWrapper):  # a name that this terminal cannot write is no reason to fail
        sys.stdout.reconfigure(errors="backslashreplace")
    try:
        options.command(options)
        if sys.stdout is not None:  # None after `>&-`
            sys.stdout.flush()
    except CompilerError as error:
        return _complain(f"{error.what} {_hint(error)}")
    except BrokenPipeError:  # `trtlab explain ... | head`
        os.dup2(os.open(os.devnull, os.O_WRONLY), sys.stdout.fileno())
        return 0
    except OSError as error:
        return _complain(f"{error.filename or 'A file'}: {error.strerror}.")
    except KeyboardInterrupt:
        return INTERRUPTED
    return 0


def _hint(error: Any) -> str:
    """The way out, in the words of the terminal where Python's would not help."""
    shapes = error.details.get("shapes")
    if not shapes:
        return str(error.hint)
    words = {name: ":".join("x".join(map(str, shape)) for shape in three) for name, three in shapes.items()}
    texts = " ".join(f"--profile {name}={three}" for name, three in words.items())
    return f"Pass {texts}: minimum, optimum and maximum shapes."


def _complain(text: str) -> int:
    width = min(shutil.get_terminal_size().columns, 100)
    paragraph = textwrap.fill(f"trtlab: {_plain(' '.join(text.split()))}", width, break_long_words=False)
    if sys.stderr is not None:
        print(paragraph, file=sys.stderr)
    return BAD_INPUT


def _plain(text: str) -> str:
    """`text` with control characters spelled out: a name in a model must not steer the terminal."""
    return "".join(letter if letter.isprintable() else ascii(letter)[1:-1] for letter in text)


def _parser() -> argparse.ArgumentParser:
    parser = argparse.ArgumentParser(
        prog="trtlab", description="A workbook for TensorRT interviews: look, build, measure."
    )
    parser.add_argument("--version", action="version", version=f"trtlab {trtlab.__version__}")
    commands = parser.add_subparsers(title="commands", required=True, metavar="COMMAND")
    _add(commands, "doctor", _doctor, "what this machine can do: build, execute, and if not, why")
    explain = _add(commands, "explain", _explain, "build any ONNX model with NVIDIA's compiler and list its kernels")
    explain.add_argument("model", metavar="MODEL.onnx")
    explain.add_argument("--target", help="SM89 (default), several as SM86,SM120, or portable; none for tensorrt")
    explain.add_argument(
        "--profile", action="append", default=[], type=_profile, metavar="NAME=MIN:OPT:MAX",
        help="shapes of a dynamic input, such as image=1x3x224x224:8x3x224x224:32x3x224x224; repeat for more inputs",
    )  # fmt: skip
    compilers = ("tensorrt", "tensorrt_rtx")
    explain.add_argument("--compiler", choices=compilers, help="default: tensorrt with a GPU, else tensorrt_rtx")
    explain.add_argument("--plan", metavar="FILE", help="also save the plan, with a manifest beside it")
    explain.add_argument("--log", action="store_true", help="print the builder's whole log after the table")
    explain.add_argument("--timeout", type=float, default=600.0, metavar="SECONDS")
    bench = _add(commands, "bench", _bench, "measured ratios, each with its peer and target")
    bench.add_argument("name", nargs="?", choices=sorted(BENCHES), help="one benchmark; default all")
    return parser


def _add(commands: Any, name: str, command: Callable[[argparse.Namespace], None], text: str) -> argparse.ArgumentParser:
    parser: argparse.ArgumentParser = commands.add_parser(name, help=text, description=text)
    parser.add_argument("--json", action="store_true", help="machine-readable output")
    parser.set_defaults(command=command)
    return parser


def _print_json(values: Any) -> None:
    print(json.dumps(values, indent=2))  # ASCII, so that it stays JSON in every encoding


def _print_table(rows: Rows, header: Sequence[str]) -> None:
    """Columns as wide as their widest cell; the last one runs on."""
    cells = [[_plain(str(cell)) for cell in row] for row in [header, *rows]]
    widths = [max(len(row[i]) for row in cells) for i in range(len(header) - 1)]
    for number, row in enumerate(cells):
        print("  ".join(cell.ljust(width) for cell, width in zip(row, widths, strict=False)) + "  " + row[-1])
        if number == 0:
            print("  ".join("-" * width for width in widths) + "  " + "-" * len(row[-1]))


# --- doctor ---------------------------------------------------------------------------------------------------------


def _doctor(options: argparse.Namespace) -> None:
    from trtlab.engine.machine import inspect_machine

    machine = inspect_machine()
    if options.json:
        _print_json(machine.to_dict())
        return
    memory = "unknown" if machine.memory_bytes is None else f"{machine.memory_bytes / 2**30:.1f} GiB"
    print(f"{machine.system}, {machine.processor}, {machine.cores} cores, {memory}, Python {machine.python}")
    print(f"instruction sets: {' '.join(machine.isa) or 'unknown'}")
    print(f"CUDA driver:      {machine.driver.version or machine.driver.why_not}")
    for gpu in machine.driver.gpus:
        size = f"{gpu.memory_bytes / 2**30:.0f} GiB, {gpu.multiprocessors} multiprocessors"
        print(f"GPU:              {gpu.name}, {gpu.target}, {size}")
    print()
    libraries = machine.libraries
    rows = [(lib.name, lib.version or "-", "yes" if lib.usable else "no", lib.why_not or "") for lib in libraries]
    _print_table(rows, ("library", "version", "usable", "why not"))
    print()
    builds = f"yes, with {machine.compiler} for {', '.join(machine.targets)}"
    print(f"build:   {builds if machine.can_build else 'no'}")
    print(f"execute: {'yes' if machine.can_execute else f'no ({machine.why_not_execute}); ONNX Runtime stands in'}")


# --- explain --------------------------------------------------------------------------------------------------------


def _explain(options: argparse.Namespace) -> None:
    from trtlab.engine.planfile import save_plan

    if options.plan:
        _check_plan_path(Path(options.plan))
    report = trtlab.explain(
        options.model,
        options.target,
        profiles=dict(options.profile),
        compiler=options.compiler,
        timeout_s=options.timeout,
        on_progress=_ticker() if sys.stderr is not None and sys.stderr.isatty() else None,
    )
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


def _check_plan_path(path: Path) -> None:
    """Before the build, which may take minutes. PlanFileError when no file can be written there."""
    from trtlab.engine.nvidia.errors import PlanFileError

    if path.is_dir():
        raise PlanFileError(f"--plan {path} is a folder.", hint="Expected the name of a file to write.")
    if not path.parent.is_dir():
        raise PlanFileError(f"--plan {path}: there is no folder {path.parent}.", hint="Make it first.")


def _profile(text: str) -> tuple[str, tuple[tuple[int, ...], ...]]:
    name, _, shapes = text.rpartition("=")
    try:
        smallest, optimal, largest = (tuple(int(size) for size in shape.split("x")) for shape in shapes.split(":"))
    except ValueError:
        raise argparse.ArgumentTypeError(
            f"{text!r} is not NAME=MIN:OPT:MAX, such as image=1x3x8x8:8x3x8x8:32x3x8x8"
        ) from None
    return name, (smallest, optimal, largest)


def _ticker() -> Callable[[Any], None]:
    def tick(progress: Any) -> None:
        sys.stderr.write(f"\r\x1b[K{progress.seconds:6.1f} s  {progress.name}" if not progress.done else "\r\x1b[K")
        sys.stderr.flush()

    return tick


def _print_report(report: Any) -> None:
    layers, constants = report.layer_counts
    streams = len({kernel.stream for kernel in report.kernels})
    print(f"{_plain(report.model_name)}: {report.onnx_nodes} ONNX nodes (+ {report.onnx_constants} constants)")
    print(f"  -> {layers} network layers (+ {constants} constants)")
    where = ", ".join(report.targets) or "this GPU"
    print(f"  -> {len(report.kernels)} kernels on {streams} stream{'s' * (streams != 1)} for {where}")
    sizes = {"plan": report.plan_size_bytes, "activations": report.activation_bytes, "weights": report.weights_bytes}
    print("  " + ", ".join(f"{name} {'unknown' if size is None else f'{size:,} B'}" for name, size in sizes.items()))
    print("  " + ", ".join(f"{p.name} {p.seconds:.3f} s" for p in report.phases if p.parent is None))
    print()
    rows = [
        (i, k.type, k.dtype, k.stream, _shape(k), k.name, " + ".join(k.onnx_nodes) or "-")
        for i, k in enumerate(report.kernels)
    ]
    _print_table(rows, ("#", "type", "dtype", "stream", "output", "kernel", "ONNX nodes merged into it"))
    print()
    print(report.provenance.line())
    if report.unread_lines:
        print(f"{len(report.unread_lines)} lines of the builder's list could not be read; see unread_lines in --json.")


def _shape(kernel: Any) -> str:
    return "x".join(map(str, kernel.outputs[0].shape)) or "scalar" if kernel.outputs else "-"


# --- bench ----------------------------------------------------------------------------------------------------------


def _bench(options: argparse.Namespace) -> None:
    results = run_benches(options.name)
    if options.json:
        _print_json([result.to_dict() for result in results])
        return
    rows = [(r.name, r.what, r.shown_value, r.target, "met" if r.met else "MISSED", r.peer) for r in results]
    _print_table(rows, ("bench", "what", "value", "target", "", "peer, same run"))
    print()
    for line in dict.fromkeys(result.provenance.line() for result in results):
        print(line)


if __name__ == "__main__":
    sys.exit(main())
