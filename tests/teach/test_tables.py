"""teach/tables: each card says the same in HTML and in text, with its provenance; hostile names stay text."""

from dataclasses import replace
from typing import Any

import numpy as np
import onnx
import pytest
from onnx import TensorProto, helper

from trtlab.engine import planfile, recordings
from trtlab.engine.machine import Driver, Gpu, LibraryState, Machine, inspect_machine
from trtlab.engine.measure import Origin, Provenance
from trtlab.engine.nvidia import ParseError
from trtlab.engine.nvidia.report import MemoryFigures
from trtlab.engine.planfile import Manifest
from trtlab.lab.workflow import STAGES, Status
from trtlab.teach import machine as machine_cards
from trtlab.teach import tables
from trtlab.teach.drawing import Drawing, bytes_text, seconds_text

from .flows import finished
from .markup import EVIL, read, said_by_both

MADE = Provenance(
    origin=Origin.RECORDED, device="an RTX 4090", when="2026-11-22", versions=(("trt", "11.0"),), samples=3
)
GPU = Gpu(name="NVIDIA RTX", compute_capability="8.9", memory_bytes=2**34, multiprocessors=128)
RECORDED = {name: recordings.load(name) for name in ("digits-FP32-SM89-static", "digits-FP16-SM89-dynamic")}


def machine(**values: Any) -> Machine:
    """A machine with a GPU and both compilers."""
    libraries = (
        LibraryState(name="tensorrt", version="11.0", usable=True, targets=("SM89",)),
        LibraryState(name="torch", version="2.13", usable=False, why_not="torn"),
    )
    facts = {
        "system": "Linux x86_64", "processor": "a processor", "cores": 4, "isa": ("avx2",), "memory_bytes": 2**34,
        "python": "3.12", "driver": Driver(version="13.0", gpus=(GPU,), why_not=None), "libraries": libraries,
    }  # fmt: skip
    return Machine(**(facts | values))


NO_DRIVER = Driver(version=None, gpus=(), why_not="no NVIDIA driver")


@pytest.fixture(params=[("FP32", False), ("FP16", True)], ids=["FP32-static", "FP16-dynamic"])
def flow(request):
    return finished(request.param[0], dynamic_batch=request.param[1])


# --- machine, badges, map --------------------------------------------------------------------------------------------


def test_this_machine():
    here = inspect_machine()
    page = said_by_both(machine_cards.draw_machine(here), *(library.name for library in here.libraries))
    assert "LIVE" in page.words
    assert f"{here.cores} cores" in page.words


@pytest.mark.parametrize(
    ("facts", "said"),
    [
        ({}, ["tensorrt for SM89", "NVIDIA RTX (SM89)", "torn"]),
        ({"driver": NO_DRIVER}, ["no NVIDIA driver; ONNX Runtime stands in"]),
        ({"libraries": ()}, ["recordings stand in", "ONNX Runtime stands in"]),
    ],
    ids=["all there", "no driver", "no compiler"],
)
def test_what_a_machine_can_do(facts, said):
    said_by_both(machine_cards.draw_machine(machine(**facts)), *said)


def test_unknown_memory_is_not_zero():
    assert "unknown" in read(machine_cards.draw_machine(machine(memory_bytes=None))).words


def test_badges_say_what_they_promise():
    said_by_both(machine_cards.draw_badges(), *(origin.value for origin in Origin), "made again", "no measurement")


def test_the_map_links_to_each_notebook():
    rows = [("00_start", "What?", "say it", "10"), ("01_next", "How?", "do it", "20")]
    page = said_by_both(machine_cards.draw_map(iter(rows)), *(cell for row in rows for cell in row))
    assert [attributes["href"] for tag, attributes in page.tags if tag == "a"] == ["00_start.ipynb", "01_next.ipynb"]


# --- stages ----------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize("name", STAGES)
def test_a_stage_says_what_went_in_and_out_and_by_whom(flow, name):
    record = flow.records[name]
    facts = [tables.TITLES[name], record.status.value, record.went_in, record.came_out, record.executor]
    facts += [record.why_not] if record.why_not else []
    facts += [seconds_text(record.seconds)] if record.seconds is not None else []
    facts += [record.provenance.line()] if record.status is not Status.IMPOSSIBLE else []
    page = said_by_both(tables.draw_stage(record), *facts)
    assert page.words.startswith(f"{STAGES.index(name) + 1}. ")
    assert (record.provenance.origin.value in page.words) is (record.status is not Status.IMPOSSIBLE)


def test_a_stage_keeps_its_log_behind_a_click(flow):
    record = replace(flow.records["build"], log=("first line", "second line"))
    page = read(tables.draw_stage(record))
    assert "2 lines of the compiler's log first line second line" in page.words
    assert page.count("details") == 1


def test_the_workflow_lists_every_stage_and_all_provenance(flow):
    records = list(flow.records.values())
    facts = [tables.TITLES[name] for name in STAGES]
    facts += [record.why_not if record.status is Status.IMPOSSIBLE else record.came_out for record in records]
    facts += [part.line() for part in tables.merged(r.provenance for r in records if r.status is not Status.IMPOSSIBLE)]
    page = said_by_both(tables.draw_workflow(iter(records)), *facts)
    assert page.count("tr") == len(STAGES) + 1


def test_every_stage_has_a_title():
    assert tuple(tables.TITLES) == STAGES


# --- artefacts -------------------------------------------------------------------------------------------------------


def test_the_graph_counts_nodes_and_weights(flow):
    model = flow.artefact("check")
    names = [node.name for node in model.graph.node]
    counts = f"{len(names)} nodes, {len(model.graph.initializer)} initializers (weights)"
    page = said_by_both(tables.draw_onnx(model), counts, *names)
    assert page.count("tr") == len(names) + 1


def test_the_layers_are_those_of_the_parser(flow):
    report = flow.artefact("parse")
    layers, constants = report.layer_counts
    facts = [
        f"{layers} layers, and {constants} constants",
        report.provenance.line(),
        "CONVOLUTION",
        "bn1/BatchNormalization",
    ]
    assert said_by_both(tables.draw_layers(report), *facts).count("tr") == layers + 1


@pytest.mark.parametrize("name", RECORDED)
def test_the_engine_lists_its_kernels_and_figures(name):
    report = RECORDED[name]
    facts = [f"{report.onnx_nodes} → {len(report.kernels)}", f"{report.onnx_constants} constants counted apart"]
    facts += [bytes_text(size) for size in (report.activation_bytes, report.weights_bytes, report.plan_size_bytes)]
    facts += [report.plan_sha256[:12], report.provenance.line(), *(kernel.name for kernel in report.kernels)]
    page = said_by_both(tables.draw_engine(report), *facts)
    assert page.count("tr") == len(report.kernels) + 1
    assert "RECORDED" in page.words
    for node in {node for kernel in report.kernels for node in kernel.onnx_nodes}:
        assert node in page.words


def test_steps_that_launch_nothing_are_mentioned():
    report = RECORDED["digits-FP32-SM89-static"]
    waiting = replace(report, steps=(*report.steps, replace(report.steps[0], type="wait")))
    assert "launch nothing" not in read(tables.draw_engine(replace(report, steps=report.kernels))).words
    said_by_both(tables.draw_engine(waiting), "1 more in the engine launch nothing")


def test_an_unknown_figure_is_unknown_not_zero():
    report = replace(RECORDED["digits-FP32-SM89-static"], memory=MemoryFigures())
    said_by_both(tables.draw_engine(report), "unknown")


def test_the_configuration(flow):
    facts = ["SM89", "TF32"]
    facts += ["image: min (1, 1, 8, 8), opt (16, 1, 8, 8)" if flow.dynamic_batch else "none: every shape is static"]
    said_by_both(tables.draw_configuration(flow.artefact("configure")), *facts)
    said_by_both(tables.draw_configuration({"targets": (), "flags": (), "profiles": ()}), "this machine's GPU", "none")


def test_a_plan_file_is_checked_while_it_is_read(tmp_path):
    report = replace(RECORDED["digits-FP32-SM89-static"], plan=b"vtrt" * 500, recorded_plan_sha256=None)
    path = tmp_path / "digits.plan"
    manifest = planfile.save_plan(report, path)
    facts = ["digits.plan: 2,000 bytes, as the manifest says", manifest.sha256, manifest.created, "SM89"]
    said_by_both(tables.draw_plan_file(path), *facts)
    path.write_bytes(b"other")
    with pytest.raises(planfile.PlanFileError):
        tables.draw_plan_file(path)


def test_outputs_show_their_first_values():
    outputs = {"logits": np.arange(24, dtype=np.float32).reshape(2, 12) / 7, "scalar": np.float16(3)[None]}
    said_by_both(tables.draw_outputs(outputs), "logits", "2×12", "float32", "0, 0.143, 0.286", "float16")


# --- answers ---------------------------------------------------------------------------------------------------------


def test_scans_show_picture_answer_and_verdict(flow):
    result = flow.artefact("compare")
    facts = ["agrees with the reference", f"{result.relative_error:.1e}", result.provenance.line(), result.executor]
    page = said_by_both(tables.draw_scans(result), *facts)
    assert page.count("figure") == page.count("svg") == len(result.labels)
    labels = [attributes["aria-label"] for tag, attributes in page.tags if tag == "svg"]
    assert labels == [f"scan of a {label}" for label in result.labels]
    assert page.words.count("✓") == (result.predictions == result.labels).sum()


def test_a_wrong_answer_is_marked_in_words(flow):
    result = flow.artefact("compare")
    wrong = replace(result, labels=(result.predictions + 1) % 10)
    page = said_by_both(tables.draw_scans(wrong), f"{result.predictions[0]} ✗ is {wrong.labels[0]}", "0 of 16")
    assert "✓" not in page.words


def test_without_labels_there_is_a_verdict_and_no_tick(flow):
    page = said_by_both(tables.draw_scans(replace(flow.artefact("compare"), labels=None)), "agrees with the reference")
    assert page.count("figure") == 0
    assert "labels right" not in page.words


def test_disagreement_is_loud(flow):
    result = flow.artefact("compare")
    said_by_both(tables.draw_comparison(replace(result, outputs=-result.outputs)), "DISAGREES with the reference")


def test_errors_say_the_way_out():
    error = ParseError("Node 'x' is unknown.", hint="Replace it.", node="x")
    said_by_both(tables.draw_error(error), "ParseError", "Node 'x' is unknown.", "Replace it.")
    page = said_by_both(
        tables.draw_error(ZeroDivisionError("division by zero")), "ZeroDivisionError", "division by zero"
    )
    assert "Way out" not in page.words


# --- hostile names ---------------------------------------------------------------------------------------------------


def evil_report():
    """A report in which every name is markup."""
    report = RECORDED["digits-FP16-SM89-dynamic"]
    tensor = replace(report.inputs[0], name=EVIL, dtype=EVIL)
    step = replace(report.kernels[0], name=EVIL, type=EVIL, tactic=EVIL, onnx_nodes=(EVIL, EVIL), outputs=(tensor,))
    layer = replace(report.layers[0], name=EVIL, type=EVIL, onnx_nodes=(), outputs=(tensor,))
    return replace(
        report, model_name=EVIL, compiler=EVIL, compiler_version=EVIL, targets=(EVIL,), flags=(EVIL,), steps=(step,),
        layers=(layer, replace(layer, onnx_nodes=(EVIL,))), provenance=replace(MADE, device=EVIL),
    )  # fmt: skip


def evil_model():
    node = helper.make_node(EVIL, [EVIL], [EVIL], name=EVIL)
    value = helper.make_tensor_value_info(EVIL, TensorProto.FLOAT, [1])
    return onnx.helper.make_model(helper.make_graph([node], EVIL, [value], [value]))


def evil_record(name):
    record = finished().records[name]
    return replace(
        record,
        executor=EVIL,
        went_in=EVIL,
        came_out=EVIL,
        why_not=EVIL,
        log=(EVIL,),
        provenance=replace(MADE, device=EVIL),
    )


def evil_machine():
    driver = Driver(version=EVIL, gpus=(replace(GPU, name=EVIL),), why_not=EVIL)
    libraries = (LibraryState(name=EVIL, version=EVIL, usable=False, why_not=EVIL),)
    return machine(system=EVIL, processor=EVIL, isa=(EVIL,), driver=driver, libraries=libraries)


def evil_manifest():
    names = ("model_name", "model_sha256", "compiler", "compiler_version", "created", "sha256")
    return Manifest(**dict.fromkeys(names, EVIL), targets=(EVIL,), size_bytes=1)


def evil_comparison():
    return replace(finished().artefact("compare"), executor=EVIL, provenance=replace(MADE, device=EVIL))


HOSTILE = {
    "machine": lambda: machine_cards.draw_machine(evil_machine()),
    "map": lambda: machine_cards.draw_map([(EVIL, EVIL, EVIL, EVIL)]),
    "stage": lambda: tables.draw_stage(evil_record("build")),
    "stage not possible": lambda: tables.draw_stage(evil_record("context")),
    "workflow": lambda: tables.draw_workflow([evil_record("build"), evil_record("context")]),
    "onnx": lambda: tables.draw_onnx(evil_model()),
    "layers": lambda: tables.draw_layers(evil_report()),
    "configuration": lambda: tables.draw_configuration(
        {
            "targets": (EVIL,),
            "flags": (EVIL,),
            "profiles": (
                replace(RECORDED["digits-FP16-SM89-dynamic"].profiles[0], shapes=((EVIL, (1,), (2,), (3,)),)),
            ),
        }
    ),
    "engine": lambda: tables.draw_engine(evil_report()),
    "manifest": lambda: tables.draw_manifest(evil_manifest()),
    "outputs": lambda: tables.draw_outputs({EVIL: np.zeros(2)}),
    "comparison": lambda: tables.draw_comparison(evil_comparison()),
    "scans": lambda: tables.draw_scans(evil_comparison()),
    "error": lambda: tables.draw_error(ParseError(EVIL, hint=EVIL)),
    "defect": lambda: tables.draw_error(RuntimeError(EVIL)),
}


@pytest.mark.parametrize("what", HOSTILE)
def test_a_hostile_name_is_shown_and_does_nothing(what):
    drawing = HOSTILE[what]()
    assert isinstance(drawing, Drawing)
    page = read(drawing)  # balanced, no script, no handler
    assert EVIL in page.words
    assert page.count("img") == 0


def test_every_card_is_tried_with_hostile_names():
    drawn = {name.removeprefix("draw_") for name in vars(tables) if name.startswith("draw_")}
    assert drawn - {"badges", "plan_file"} <= set(HOSTILE)
