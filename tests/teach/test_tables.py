"""Cards of stages, machines, networks, engines, calls and targets: HTML and text say the same, with provenance, and
hostile names stay text."""

import re
from dataclasses import replace
from xml.etree import ElementTree

import numpy as np
import pytest

from tests.teach.flows import finished, relus
from trtlab import teach
from trtlab.engine import planfile
from trtlab.engine.machine import Driver, Gpu, LibraryState, Machine, inspect_machine
from trtlab.engine.measure import Origin, merged
from trtlab.engine.nvidia import installed_api
from trtlab.engine.nvidia.errors import ParseError
from trtlab.lab import builds, support
from trtlab.lab.workflow import STAGES, WORKFLOW, Status
from trtlab.numeric import FORMATS, exact
from trtlab.numeric.units import bytes_text, seconds_text
from trtlab.study.bank import UnknownEntry
from trtlab.study.curriculum import LESSONS, planned_in
from trtlab.study.questions import CALLS
from trtlab.teach import machine as machine_cards

from .markup import alike

STATIC, DYNAMIC = (builds.recorded(f"digits-{name}") for name in ("FP32-SM89-static", "FP16-SM89-dynamic"))
GPU = Gpu(name="NVIDIA RTX", compute_capability="8.9", memory_bytes=2**34, multiprocessors=128)
MACHINE = Machine(
    system="Linux x86_64", processor="a processor", cores=4, isa=("avx2",), memory_bytes=2**34, python="3.12",
    driver=Driver(version="13.0", gpus=(GPU,), why_not=None),
    libraries=(
        LibraryState(name="tensorrt", version="11.0", usable=True, targets=("SM89",)),
        LibraryState(name="torch", version="2.13", usable=False, why_not="torn"),
    ),
)  # fmt: skip
NO_DRIVER = Driver(version=None, gpus=(), why_not="no NVIDIA driver")
needs_compiler = pytest.mark.skipif(installed_api().provenance.origin is not Origin.LIVE, reason="no compiler here")


@pytest.fixture
def flow():
    return finished()


# --- what is there ---------------------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("facts", "said"),
    [
        ({}, ["tensorrt for SM89", "NVIDIA RTX (SM89)", "torn"]),
        ({"driver": NO_DRIVER}, ["no NVIDIA driver; ONNX Runtime stands in"]),
        ({"libraries": ()}, ["recordings stand in", "ONNX Runtime stands in"]),
        ({"memory_bytes": None}, ["unknown"]),
    ],
    ids=["all there", "no driver", "no compiler", "no memory figure"],
)
def test_what_a_machine_can_do(facts, said):
    alike(teach.draw_machine(replace(MACHINE, **facts)), *said)


def test_this_machine_and_the_badges():
    here = inspect_machine()
    alike(teach.draw_machine(here), "LIVE", f"{here.cores} cores", *(library.name for library in here.libraries))
    alike(teach.draw_badges(), *(origin.value for origin in Origin))


def test_the_door_answers_with_no_kernel_and_its_map_links_what_is_there_and_names_the_rest_as_planned(
    tmp_path,
):
    there, planned = LESSONS[0], next(iter(planned_in(tmp_path)))
    (tmp_path / f"{there.name}.ipynb").touch()
    report = builds.recorded("digits-FP32-SM89-dynamic")
    drawn = teach.draw_door(tmp_path, report, "q1-nearest-code")
    kernels = [kernel.name for kernel in report.kernels]
    page = alike(drawn, there.question.zh, there.outcome.en, "planned", f"{len(kernels)} kernels", *kernels, "RECORDED")
    assert {tags["href"] for tag, tags in page.tags if tag == "a"} == {f"{there.name}.ipynb"}
    lines = [line for line in drawn.text.splitlines() if line.startswith(planned[:2])]
    assert all("planned" in line for line in lines)
    (tmp_path / f"{planned}.ipynb").touch()
    assert planned not in planned_in(tmp_path)
    flips = next(tags for _, tags in page.tags if tags.get("class") == "trt-flips")
    assert [float(word.replace("−", "-")) for word in flips["data-values"].split()[:127]] == [
        exact.decode(FORMATS["FP8_E4M3"], code).value for code in range(127)
    ]
    boxes = [tags for tag, tags in page.tags if tag == "input" and "bit" in tags.get("aria-label", "")]
    assert "".join(str(int("checked" in box)) for box in boxes) == f"{0x40:08b}"  # 2


def test_gone_is_said_of_what_is_gone_and_what_replaces_it_is_there():
    drawn = teach.draw_calls()
    alike(drawn, *(text for call in CALLS for text in (call.now.en, call.now.zh)))
    lines = {line.split("  ")[0]: line for line in drawn.text.splitlines()}
    gone = ["deprecated / 已弃用", *["absent / 没有"] * 3, "not there / 没有"]
    assert re.split("  +", lines["enqueueV2(bindings, stream)"])[1:6] == gone
    kept = ["declared / 已声明"] * len(machine_cards.SHOWN_TAGS)
    assert re.split("  +", lines["executeV2(bindings)"])[1:6] == [*kept, "there / 有"]
    assert "not there" not in lines["executeV2(bindings)"]
    assert [call.name for call in CALLS if not installed_api().has(*call.python_now.split("."))] == []


@needs_compiler
def test_a_refused_model_is_drawn_with_the_way_out_and_an_accepted_one_as_its_engine():
    model = relus("first", "second")
    model.graph.input[0].type.tensor_type.shape.dim[0].dim_param = "n"
    model.graph.output[0].type.tensor_type.shape.dim[0].dim_param = "n"
    alike(teach.draw_refusal(model), "ProfileError", "Way out: ", "profiles=")
    alike(teach.draw_refusal(model, profiles={"x": ((1, 8), (2, 8), (4, 8))}), "activation memory", "first")


def test_the_matrix_says_what_is_read_or_why_not_and_every_refusal_word_for_word_once():
    found = support.recorded()
    few = found.only(["NVFP4", "FP4_E2M1", "UINT8", "NF4", "FP32"], ["SM75", "SM120"])
    words = ["SM75 Turing", "SM120 Blackwell", "✓ FP4E2M1 × FP4E2M1", "✓ Half × Half ← FP4E2M1", machine_cards.TAKEN]
    alike(teach.draw_support(few), *words, "✗ no FP32 product on Turing", found.provenance.line())
    assert "✗ no FP4_E2M1 on Turing" in teach.draw_support(few).text
    assert "←" not in teach.draw_support(found.only(["INT8"], ["SM89"])).text, "no arrow, no word of arrows"
    page = alike(teach.draw_support(found), "Found unsupported input type of UINT8", "target(s) smNN", "'w' is UINT4")
    assert page.words.count("Non-zero zero point is not supported") == 1
    lines = {line.split("  ")[0]: line for line in teach.draw_support(found).text.splitlines()}
    assert "✓" not in lines["FP64"]
    said = {"FP64": "≈ narrowed to Float", "FP32": "✓ Float", "FP8_E5M2": "✗", "INT8 with a zero point": "must be 0"}
    assert all(word in lines[name] for name, word in said.items())
    assert page.words.count("cannot be imported into TensorRT") == 2


# --- stages ----------------------------------------------------------------------------------------------------------


def test_a_stage_says_what_went_in_and_out_and_by_whom(flow):
    for number, record in enumerate(flow.records.values(), 1):
        happened = record.status is not Status.IMPOSSIBLE
        facts = [WORKFLOW[record.name].title, record.status.value, record.went_in, record.came_out, record.executor]
        facts += [record.why_not] * bool(record.why_not) + [record.provenance.line()] * happened
        facts += [] if record.seconds is None else [seconds_text(record.seconds)]
        page = alike(teach.draw_stage(replace(record, log=("first line", "second line"))), *facts)
        assert page.words.startswith(f"{number}. ")
        assert (record.provenance.origin.value in page.words) is happened
        assert "2 lines of the compiler's log first line second line" in page.words
        assert page.count("details") == page.count("pre") == 1


def test_the_workflow_lists_every_stage_and_all_provenance(flow):
    done = [record for record in flow.records.values() if record.status is not Status.IMPOSSIBLE]
    facts = [record.came_out if record in done else record.why_not for record in flow.records.values()]
    facts += [WORKFLOW[name].title for name in STAGES] + [part.line() for part in merged(r.provenance for r in done)]
    assert alike(teach.draw_workflow(iter(flow.records.values())), *facts).count("tr") == len(STAGES) + 1


# --- artefacts -------------------------------------------------------------------------------------------------------


def test_the_layers_and_the_configuration(flow):
    report = flow.artefact("parse")
    layers, constants = report.layer_counts
    facts = [f"{layers} layers, and {constants} constants", report.provenance.line(), "bn1/BatchNormalization"]
    assert alike(teach.draw_layers(report), *facts).count("tr") == layers + 1
    said = "image: min (1, 1, 8, 8), opt (16, 1, 8, 8)"
    alike(teach.draw_configuration(flow.artefact("configure")), "SM89", "TF32", said)
    plain = {"targets": (), "flags": (), "profiles": ()}
    alike(teach.draw_configuration(plain), "this machine's GPU", "none: every shape is static")


@pytest.mark.parametrize("report", [STATIC, DYNAMIC], ids=["static", "dynamic"])
def test_the_engine_lists_its_kernels_and_figures(report):
    facts = [f"{report.onnx_nodes} → {len(report.kernels)}", f"{report.onnx_constants} constants counted apart"]
    facts += [bytes_text(size) for size in (report.activation_bytes, report.weights_bytes, report.plan_size_bytes)]
    facts += [report.plan_sha256[:12], report.provenance.line(), "RECORDED"]
    facts += [word for kernel in report.kernels for word in (kernel.name, *kernel.onnx_nodes)]
    assert alike(teach.draw_engine(report), *facts).count("tr") == len(report.kernels) + 1


def test_steps_that_launch_nothing_are_mentioned_and_unknown_is_not_zero():
    waiting = replace(STATIC, steps=(*STATIC.kernels, replace(STATIC.steps[0], type="wait")), memory={})
    alike(teach.draw_engine(waiting), "1 more in the engine launch nothing", "activation memory: unknown")
    assert "launch nothing" not in teach.draw_engine(replace(STATIC, steps=STATIC.kernels)).text


def test_a_plan_file_is_checked_while_it_is_read(tmp_path):
    path = tmp_path / "digits.plan"
    manifest = planfile.save_plan(replace(STATIC, plan=b"vtrt" * 500, recorded_plan_sha256=None), path)
    facts = [
        "digits.plan: 2,000 bytes, as the manifest says",
        "size_bytes        2,000",
        manifest.sha256,
        manifest.created,
        "SM89",
    ]
    alike(teach.draw_plan_file(path), *facts)
    path.write_bytes(b"other")
    with pytest.raises(planfile.PlanFileError):
        teach.draw_plan_file(path)


def test_outputs_small_tables_and_errors():
    outputs = {"logits": np.arange(24, dtype=np.float32).reshape(2, 12) / 7, "scalar": np.float16(3)[None]}
    alike(teach.draw_outputs(outputs), "logits", "2×12", "float32", "0, 0.143, 0.286", "float16")
    error = ParseError("Node 'x' is unknown.", hint="Replace it.", node="x")
    alike(teach.draw_error(error), "ParseError: Node 'x' is unknown.", "Way out: Replace it.")
    page = alike(teach.draw_error(ZeroDivisionError("division by zero")), "ZeroDivisionError: division by zero")
    assert "Way out" not in page.words


@pytest.mark.parametrize("count", [1, 16])
def test_scans_show_picture_answer_and_verdict_in_words(flow, count):
    result = flow.artefact("compare")
    parts = {name: getattr(result, name)[:count] for name in ("inputs", "outputs", "labels", "reference")}
    result = replace(result, **parts)
    facts = ["agrees with the reference", f"{result.relative_error:.1e}", result.provenance.line(), result.executor]
    drawn = teach.draw_predictions(result)
    page, said = alike(drawn, *facts), ElementTree.fromstring(drawn.svg)
    answers = [text.text for text in said.iter("{http://www.w3.org/2000/svg}text")]
    assert [answer.split()[0] for answer in answers] == [str(answer) for answer in result.predictions]
    assert page.words.count("✓") == 2 * sum("✓" in answer for answer in answers)  # in the picture and beside it
    assert sum("✓" in answer for answer in answers) == (result.predictions == result.labels).sum()
    lit = {path.get("fill"): path.get("d").count("M") for path in said.iter("{http://www.w3.org/2000/svg}path")}
    levels = np.rint(255 * result.inputs).astype(int)
    assert lit == {f"rgb({v},{v},{v})": (levels == v).sum() for v in np.unique(levels) if v}
    wrong = teach.draw_predictions(replace(result, labels=(result.predictions + 1) % 10))
    page = alike(wrong, f"{result.predictions[0]} ✗ is {(result.predictions[0] + 1) % 10}", f"0 of {count}")
    assert "✓" not in page.words
    assert "labels right" not in alike(teach.draw_predictions(replace(result, labels=None)), "agrees").words
    alike(teach.draw_predictions(replace(result, outputs=-result.outputs)), "DISAGREES with the reference")


def test_words_of_the_field_are_said_in_both_languages():
    assert "execution context" not in alike(teach.draw_terms("tactic", "kgen"), "tactic", "Myelin 生成的步骤").words
    assert "execution context" in teach.draw_terms().text
    with pytest.raises(UnknownEntry, match="tactic"):
        teach.draw_terms("tactics")
