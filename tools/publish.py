"""tools/publish: notebooks in, the same notebooks out, each with the outputs of one clean run.

    python -m tools.publish notebooks/*.ipynb

What is saved is what a reader on GitHub sees: plots and drawings as PNG beside what a browser draws, cards with their
text, no widget state, no times and no trace of this machine. A notebook with a failing cell keeps its old file.
tests/test_publish.py checks all of it.
"""

import argparse
import base64
import io
import json
import os
import re
import sys
import tempfile
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import nbformat
from nbclient import NotebookClient
from nbclient.exceptions import CellExecutionError, CellTimeoutError, DeadKernelError
from nbformat import NotebookNode

from trtlab.teach.svg import PAPER, size_of

SIZE_LIMIT_BYTES = 1_000_000
HEAVY_FIGURE = 12_000
PLOTLY = "application/vnd.plotly.v1+json"
WIDGET_VIEW = "application/vnd.jupyter.widget-view+json"
INTERACTIVE = "[interactive: run this cell to use it]"
KERNELSPEC = {"display_name": "Python 3", "language": "python", "name": "python3"}
LANGUAGE_INFO = {"file_extension": ".py", "mimetype": "text/x-python", "name": "python"}
SHARED = re.compile(r"<(style|script)>.*?</\1>", re.DOTALL)
AGAIN = {"style": "", "script": "<script>window.trtTongue?.again?.()</script>"}
"""What is left of a style sheet or script that an earlier output has brought."""
ANSI_COLOUR = re.compile(r"\x1b\[[0-9;]*m")


class PublishError(Exception):
    """A notebook that cannot be saved, and why."""


def execute(notebook: NotebookNode, folder: Path, timeout_s: int) -> None:
    """Run every cell in a fresh kernel in `folder`; outputs land in `notebook`. Raises PublishError."""
    client = NotebookClient(
        notebook,
        timeout=timeout_s,
        kernel_name="python3",
        resources={"metadata": {"path": str(folder)}},
        record_timing=False,
        store_widget_state=False,
        coalesce_streams=True,
        extra_arguments=["--log-level=ERROR"],
    )
    plots = {"PLOTLY_RENDERER": "plotly_mimetype+png", "PYTHONHASHSEED": "0"}
    with tempfile.TemporaryDirectory() as no_profile:
        try:
            client.execute(env={**os.environ, **plots, "IPYTHONDIR": no_profile, "TRTLAB_DATA": no_profile})
        except (CellExecutionError, CellTimeoutError, DeadKernelError) as error:
            raise PublishError(ANSI_COLOUR.sub("", str(error))) from error


def clean(notebook: NotebookNode) -> None:
    """Remove all that differs between two runs or two machines and that no reader sees; pictures get a PNG."""
    notebook.metadata.pop("widgets", None)
    notebook.metadata.update(kernelspec=KERNELSPEC, language_info=LANGUAGE_INFO)
    brought: set[str] = set()
    for cell in notebook.cells:
        for key in ("execution", "ExecuteTime", "collapsed", "scrolled"):
            cell.metadata.pop(key, None)
        for output in cell.get("outputs", []):
            _clean(output.get("data", {}), brought)


def _clean(data: dict[str, Any], brought: set[str]) -> None:
    """One output. A style sheet or script serves the whole page, so each is kept where it is first brought."""
    if data.pop(WIDGET_VIEW, None) and set(data) <= {"text/plain"}:
        data["text/plain"] = INTERACTIVE
    if "image/svg+xml" in data:
        data.setdefault("image/png", base64.b64encode(png_from_svg(data["image/svg+xml"], scale=1.25)).decode())
        data.pop("text/html", None)  # pages that take SVG away would show the HTML, without its picture
    if "image/png" in data:
        data["image/png"] = _small_png(data["image/png"])
        if len(json.dumps(data.get(PLOTLY, ""))) > HEAVY_FIGURE:
            data.pop(PLOTLY)  # until the cell is run, the picture stands in
        if "image/svg+xml" not in data:
            data.pop("text/plain", None)  # a chart's is the code that would make it
    if "text/html" in data:
        data["text/html"] = SHARED.sub(lambda found: _once(found, brought), data["text/html"])


def _once(found: re.Match[str], brought: set[str]) -> str:
    """The piece where it stands first, and what is left of it everywhere else."""
    if found[0] in brought:
        return AGAIN[found[1]]
    brought.add(found[0])
    return found[0]


def _small_png(picture: str, colours: int = 40) -> str:
    """The same PNG, base64, with a palette: a fourth of the size, and no difference to see in plots."""
    from PIL import Image

    with Image.open(io.BytesIO(base64.b64decode(picture))) as image:
        small = image.convert("RGBA").quantize(colours, Image.Quantize.FASTOCTREE)
    written = io.BytesIO()
    small.save(written, "PNG", optimize=True)
    return base64.b64encode(written.getvalue()).decode()


def png_from_svg(svg: str, scale: float = 2.0) -> bytes:
    """The same picture as PNG, drawn by the browser that plotly's kaleido drives; for publishing, where both are there.

    Raises what kaleido raises where there is no browser.
    """
    import plotly.graph_objects as go

    (width, height), data = size_of(svg), base64.b64encode(svg.encode()).decode()
    place = {"xref": "paper", "yref": "paper", "x": 0, "y": 1, "sizex": 1, "sizey": 1, "layer": "above"}
    figure = go.Figure(layout_images=[{"source": f"data:image/svg+xml;base64,{data}", **place}])
    figure.update_layout(width=width, height=height, margin=dict.fromkeys("lrtb", 0), paper_bgcolor=PAPER)
    figure.update_xaxes(visible=False).update_yaxes(visible=False)
    return bytes(figure.to_image("png", scale=scale))


def machine_paths() -> list[str]:
    """The folders whose names would tell where a notebook was run."""
    tree = Path(__file__).resolve().parents[1]
    folders = {Path.home(), Path.cwd(), tree, *map(Path, (tempfile.gettempdir(), sys.prefix, sys.base_prefix))}
    return sorted(str(folder) for folder in folders if len(folder.parts) > 1 and str(folder) != "/usr")


def find_leaks(notebook: NotebookNode, folders: list[str]) -> Iterator[str]:
    """One line for every output that names one of `folders`. Pictures in base64 are not text."""
    pattern = re.compile(r"(?<![\w.+=-])(?:" + "|".join(map(re.escape, folders)) + r")(?![\w.+=-])[^\s\"'\\<>]*")
    for number, cell in enumerate(notebook.cells):
        for output in cell.get("outputs", []):
            data = {k: v for k, v in output.get("data", {}).items() if not k.startswith("image/") or "svg" in k}
            text = json.dumps({**output, "data": data}, ensure_ascii=False)
            yield from (f"cell {number} prints a path of this machine: {leak}" for leak in pattern.findall(text))


def write(notebook: NotebookNode, path: Path) -> int:
    """Replace `path` in one step; returns its size in bytes. Raises PublishError above SIZE_LIMIT_BYTES."""
    text = nbformat.writes(notebook, version=4).rstrip("\n") + "\n"
    size_bytes = len(text.encode())
    if size_bytes > SIZE_LIMIT_BYTES:
        sizes = [(len(json.dumps(cell.get("outputs", []))), number) for number, cell in enumerate(notebook.cells)]
        largest = ", ".join(f"cell {number} {size // 1000} KB" for size, number in sorted(sizes, reverse=True)[:3])
        limit = SIZE_LIMIT_BYTES // 1000
        raise PublishError(f"{size_bytes // 1000} KB, more than {limit} KB; largest outputs: {largest}")
    new = path.with_suffix(".ipynb.new")
    new.write_text(text, "utf-8")
    new.replace(path)
    return size_bytes


def publish(path: Path, timeout_s: int = 600) -> int:
    """Execute `path` and save it with clean outputs; returns its size in bytes. Raises PublishError."""
    notebook = nbformat.read(path, as_version=4)
    execute(notebook, path.resolve().parent, timeout_s)
    clean(notebook)
    if leaks := list(find_leaks(notebook, machine_paths())):
        raise PublishError("\n".join(leaks))
    return write(notebook, path)


def main(arguments: list[str] | None = None) -> int:
    """The command line; exit code 1 when any notebook could not be published, and why on stderr."""
    parser = argparse.ArgumentParser(prog="python -m tools.publish", description=main.__doc__)
    parser.add_argument("notebooks", nargs="+", type=Path)
    parser.add_argument("--timeout", type=int, default=600, metavar="SECONDS", help="for one cell (default: 600)")
    options = parser.parse_args(arguments)
    failed = 0
    for path in options.notebooks:
        try:
            print(f"{path}: {publish(path, options.timeout) // 1000} KB", flush=True)
        except (PublishError, OSError, ValueError, KeyError) as error:
            failed += 1
            print(f"{path}: left as it was\n{error}", file=sys.stderr, flush=True)
    return 1 if failed else 0


if __name__ == "__main__":
    sys.exit(main())
