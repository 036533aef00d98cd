"""teach/diagrams: the hand-laid diagrams, drawn by code so that they never drift from the words around them.

In: nothing. Out: SVG. `python -m trtlab.teach.diagrams images` writes them all; a test compares the files with what
the code draws. Boxes are white with dark text, so that they read on light and dark pages alike.
"""

import sys
from collections.abc import Callable
from pathlib import Path

from trtlab.lab.workflow import STAGES
from trtlab.teach.diagramparts import MONO, arrow, svg, text
from trtlab.teach.diagrams_acceleration import acceleration_svg
from trtlab.teach.diagrams_fusion import fusion_svg
from trtlab.teach.drawing import Drawing
from trtlab.teach.tables import TITLES

# For each stage: what it hands on, and NVIDIA's name for the object or call behind it.
HANDS_ON = {
    "export": ("model.onnx", "torch.onnx.export"),
    "check": ("model.onnx, valid", "onnx.checker"),
    "parse": ("INetworkDefinition", "OnnxParser"),
    "configure": ("IBuilderConfig", "Builder"),
    "build": ("IHostMemory: the plan", "build_serialized_network"),
    "serialise": ("model.plan + manifest", "a file"),
    "deserialise": ("ICudaEngine", "Runtime"),
    "context": ("IExecutionContext", "create_execution_context"),
    "host_to_device": ("inputs on the GPU", "cudaMemcpyAsync"),
    "enqueue": ("outputs on the GPU", "execute_async_v3"),
    "device_to_host": ("outputs on the host", "cudaMemcpyAsync"),
    "compare": ("a verdict", "against torch"),
}
BOX_WIDTH, BOX_HEIGHT, GAP, MARGIN = 196, 84, 30, 24


def _box(x: float, y: float, number: int, name: str, colour: str) -> str:
    gives, by = HANDS_ON[name]
    title = TITLES[name].split(" (")[0]
    middle = x + BOX_WIDTH / 2
    size = f'width="{BOX_WIDTH}" height="{BOX_HEIGHT}" rx="10"'
    frame = f'<rect x="{x}" y="{y}" {size} fill="#ffffff" stroke="{colour}" stroke-width="1.6"/>'
    return frame + "".join(
        (
            text(middle, y + 25, f"{number}  {title}", 15, "#1f2328", 650),
            text(middle, y + 47, gives, 13, colour, 600),
            text(middle, y + 68, by, 12, "#59636e", 400, MONO),
        )
    )


def workflow_svg() -> str:
    """The twelve stages in two lanes of six: built once, and run for every request."""
    step = BOX_WIDTH + GAP
    width, lane = 6 * step - GAP + 2 * MARGIN, BOX_HEIGHT + 92
    parts = []
    lanes = (
        ("BUILD: once per model, version and target", "#4c7a00"),
        ("RUN: load once, then every request", "#0969da"),
    )
    for row, (title, colour) in enumerate(lanes):
        y = 56 + row * lane
        parts.append(text(width / 2, y - 20, title, 13, colour, 700))
        for column, name in enumerate(STAGES[6 * row : 6 * row + 6]):
            x = MARGIN + column * step
            parts.append(_box(x, y, 6 * row + column + 1, name, colour))
            if column < 5:
                parts.append(arrow(f"M{x + BOX_WIDTH + 3} {y + BOX_HEIGHT / 2} h{GAP - 9}"))
    right, left, turn = width - MARGIN - BOX_WIDTH / 2, MARGIN + BOX_WIDTH / 2, 56 + BOX_HEIGHT + 22
    parts.append(arrow(f"M{right} {56 + BOX_HEIGHT + 2} V{turn} H{left} V{56 + lane - 5}"))
    parts.append(
        text(width / 2, turn + 20, "the plan file travels; nothing else of the build is needed to run", 12, "#7d8590")
    )
    height = 56 + lane + BOX_HEIGHT + MARGIN
    return svg(width, height, "The TensorRT workflow in twelve stages", parts)


DIAGRAMS: dict[str, Callable[[], str]] = {
    "workflow": workflow_svg,
    "acceleration": acceleration_svg,
    "fusion": fusion_svg,
}


def draw_diagram(name: str) -> Drawing:
    """A diagram by name. KeyError names the known ones."""
    if name not in DIAGRAMS:
        raise KeyError(f"no diagram {name!r}; there are {', '.join(DIAGRAMS)}")
    return Drawing(html=DIAGRAMS[name](), text=f"[diagram: {name}; see images/{name}.svg]")


def write_all(folder: Path) -> None:
    """Write every diagram into `folder`."""
    for name, draw in DIAGRAMS.items():
        (folder / f"{name}.svg").write_text(draw(), encoding="utf-8")


if __name__ == "__main__":
    write_all(Path(sys.argv[1]))
