"""lab/compare: counts against onnx's own nodes, results against onnx's evaluator."""

from collections import Counter
from dataclasses import replace

import numpy as np
import onnx
import pytest
from onnx import numpy_helper

from tests.engine.nvidia.onnx_models import parallel_matmuls, unknown_op
from tests.graph.written import check_not_degenerate, written
from trtlab.engine.measure import Origin
from trtlab.engine.nvidia import CompilerMissing
from trtlab.engine.nvidia.report import Kernel, TensorInfo
from trtlab.engine.ort import OrtError
from trtlab.graph.models import TEACHING_MODELS
from trtlab.graph.oracle import RTOL, reference, sample_inputs
from trtlab.lab import builds, compare
from trtlab.lab.compare import OPTIMIZERS, Verdict, changes_layout, compare_groups, compare_optimizers, is_slice


@pytest.fixture(scope="module")
def rows():
    return {row.model: row for row in compare.compare_teaching_models()}


def outcome(row, optimizer):
    (found,) = (outcome for outcome in row.outcomes if outcome.optimizer == optimizer)
    return found


@pytest.fixture
def no_compiler(monkeypatch):
    """A machine where no compiler can be installed."""

    def missing(*_args, **_options):
        raise CompilerMissing("No TensorRT compiler can be used here.", hint="Install one.")

    monkeypatch.setattr("trtlab.engine.nvidia.explain", missing)


# --- one model, many optimisers ---------------------------------------------------------------------------------------


@pytest.mark.parametrize("name", TEACHING_MODELS)
def test_every_optimiser_keeps_the_results_and_adds_no_kernel_but_copies(rows, name):
    written, *after = rows[name].outcomes
    assert {found.optimizer for found in after} == {*OPTIMIZERS, "TensorRT"}
    for found in after:
        assert found.optimizer == "TensorRT" or found.error <= RTOL, found.note
        report = builds.report(name) if found.optimizer == "TensorRT" else None
        copies = (
            sum(k.type == "kgen" for k in report.kernels)
            if report
            else _change(name, found.optimizer)[1]["ReorderOutput"]
        )
        assert found.kernels <= written.kernels + copies


def test_the_referee_agrees_with_onnxs_own_evaluator_on_outputs_that_prove_something():
    for make in TEACHING_MODELS.values():
        model = make()
        inputs = next(sample_inputs(model))
        known = reference(model, inputs)
        for name, array in compare.referee(model, inputs).items():
            check_not_degenerate(array)
            np.testing.assert_allclose(array, known[name], rtol=RTOL, atol=RTOL * np.abs(known[name]).max())


def _change(name, optimizer):
    """Operator types with how many fewer there are after an optimiser, and how many more."""
    model = TEACHING_MODELS[name]()
    old, new = (Counter(node.op_type for node in m.graph.node) for m in (model, OPTIMIZERS[optimizer](model)))
    return old - new, new - old


@pytest.mark.parametrize(
    ("model", "optimizer", "gone", "new"),
    [
        ("conv_bn_relu", "ONNX Runtime BASIC", {"BatchNormalization": 1}, {}),
        ("conv_bn_relu", "ONNX Runtime EXTENDED", None, {"FusedConv": 1}),
        ("dead_branch", "ONNX Runtime ALL", {}, {}),  # ONNX Runtime keeps what nobody reads
        ("dead_branch", "onnxslim", {"MatMul": 1, "Softmax": 1}, None),
        ("attention", "ONNX Runtime DISABLE_ALL", {}, {}),
    ],
)
def test_what_each_optimiser_is_known_for(model, optimizer, gone, new):
    found = _change(model, optimizer)
    assert [one for one, known in zip(found, (gone, new), strict=True) if known is not None and one != known] == []


def _swapped(model):
    """The mutant: two channels of the first weight change places."""
    copy = onnx.load_model_from_string(model.SerializeToString())
    weight = next(tensor for tensor in copy.graph.initializer if len(tensor.dims) > 1)
    array = numpy_helper.to_array(weight)
    weight.CopyFrom(numpy_helper.from_array(np.concatenate([array[[1, 0]], array[2:]]), weight.name))
    return copy


def test_a_wrong_optimiser_is_caught_and_one_that_refuses_does_not_stop_the_others(monkeypatch):
    mine = {"wrong": _swapped, "refusing": lambda _: int("not for me"), "right": OPTIMIZERS["trtlab"]}
    monkeypatch.setattr(compare, "OPTIMIZERS", mine)
    model = TEACHING_MODELS["inception"]()
    before = model.SerializeToString()
    row = compare_optimizers(model)
    assert model.SerializeToString() == before
    assert outcome(row, "wrong").kernels is None
    assert "y: differs by" in outcome(row, "wrong").note
    assert "not for me" in outcome(row, "refusing").note
    assert outcome(row, "right").kernels == 1


def test_a_model_that_nothing_can_load_is_refused():
    with pytest.raises(OrtError, match="cannot load this model"):
        compare_optimizers(unknown_op())


@pytest.mark.usefixtures("no_compiler")
def test_without_a_compiler_teaching_models_are_recorded_and_others_say_why_not(monkeypatch):
    monkeypatch.setattr(compare, "OPTIMIZERS", {})
    row = compare_optimizers(TEACHING_MODELS["gelu"]())
    assert outcome(row, "TensorRT").kernels == 1
    assert {part.origin for part in row.provenance} == {Origin.LIVE, Origin.RECORDED}
    row = compare_optimizers(parallel_matmuls())
    assert "No TensorRT compiler can be used here" in outcome(row, "TensorRT").note
    with pytest.raises(CompilerMissing, match="is of another model"):
        compare_groups(TEACHING_MODELS["inception"](seed=1))


# --- kernel by kernel -------------------------------------------------------------------------------------------------


@pytest.mark.parametrize("name", [name for name in builds.names() if name not in ("chain_448", "chain_512")])
@pytest.mark.usefixtures("no_compiler")
def test_every_group_every_kernel_and_every_node_stands_in_exactly_one_place(name):
    model = builds.model(name)
    found = compare_groups(model)
    assert compare_groups(model.SerializeToString(), report=found.report).matches == found.matches
    kernels = Counter(id(kernel) for match in found.matches for kernel in match.nvidia)
    assert kernels == Counter(map(id, found.report.kernels))
    ours = Counter(node for match in found.matches for group in match.ours for node in group.nodes)
    theirs = {node for kernel in found.report.kernels for node in kernel.onnx_nodes}
    assert set(ours.values()) <= {1}
    assert set(ours) | theirs | set(found.gone) == {node.name for node in model.graph.node}
    assert not set(found.gone) & (set(ours) | theirs)
    assert found.our_kernels == sum(group.is_kernel for match in found.matches for group in match.ours)
    for match in found.matches:
        if match.verdict is not Verdict.SAME:
            assert match.notes, match


@pytest.mark.parametrize(
    ("name", "verdict", "note"),
    [
        ("inception", Verdict.DECLINED, "3 kernels one after another on one stream"),
        ("inception", Verdict.SAME, "3 added copies between layouts write with the strides (1536, 64, 8, 1) of y"),
        ("inception", Verdict.ADDED, "copies between layouts (4)"),
        ("wide_inception", Verdict.DECLINED, "3 kernels on 3 streams"),
        ("wide_inception", Verdict.SAME, "no copy: 3 kernels write with the strides (602112, 1, 10752, 192)"),
        ("raw_concat", Verdict.SAME, "a is an input or a weight"),
        ("pointwise_concat", Verdict.NVIDIA_MORE, "it does the concatenation too"),
        ("matmul_concat", Verdict.DECLINED, "2 added kernels move the parts into place"),
        ("layernorm", Verdict.NVIDIA_MORE, "5 kernels of ours are one"),
        ("conv_bn_relu", Verdict.WE_MORE, "bn, relu: in a kernel of their own"),
        ("attention", Verdict.DECLINED, "parallel products: 2 kernels"),
        ("attention", Verdict.NVIDIA_MORE, "no kernel names it"),
        ("attention", Verdict.WE_MORE, "softmax, scaled, mix: in kernels of their own"),
    ],
)
@pytest.mark.usefixtures("no_compiler")
def test_differences_have_names(name, verdict, note):
    found = compare_groups(builds.model(name))
    assert any(note in "; ".join(match.notes) for match in found.matches if match.verdict is verdict)


@pytest.mark.usefixtures("no_compiler")
def test_nodes_without_names_get_the_same_ones_on_both_sides(monkeypatch):
    """The recording knows conv1, relu1, ...; a model whose nodes are named after their outputs shares no name."""
    model = TEACHING_MODELS["multiply_add_relu"]()
    for node in model.graph.node:
        node.name = ""
    report = builds.recorded("fusion-multiply_add_relu-SM89")
    monkeypatch.setattr(compare, "_report", lambda *_: report)
    (ours, added) = compare_groups(model).matches
    assert ours.ours[0].nodes == ("ab", "sum", "y")
    assert added.verdict is Verdict.ADDED
    assert all(not node.name for node in model.graph.node)


def agreement(monkeypatch, *kernels):
    """Ours beside made-up kernels, each named after its nodes, for two products, their concatenation and a ReLU."""
    text = """(float[2,4] a, float[2,4] b, float[4,4] w) => (float[2,8] y) {
        [left] l = MatMul (a, w) [right] r = MatMul (b, w) [concat] c = Concat <axis = 1> (l, r)
        [last] y = Relu (c) }"""
    plain = _kernel(_tensor((2, 4), (4, 1)), _tensor((2, 4), (4, 1)))
    steps = tuple(replace(plain, name="+".join(nodes), onnx_nodes=nodes) for nodes in kernels)
    report = replace(builds.recorded("fusion-gelu-SM89"), steps=steps)
    monkeypatch.setattr(compare, "_report", lambda *_: report)
    return compare_groups(written(text)).matches


def test_a_concat_inside_nvidias_kernel_is_more_than_one_in_place(monkeypatch):
    found = agreement(monkeypatch, ("left",), ("right",), ("last", "concat"))
    assert [match.verdict for match in found] == [Verdict.SAME, Verdict.SAME, Verdict.NVIDIA_MORE]
    assert found[-1].notes == ("it does the concatenation too; with us those do that write the parts",)
    assert [group.nodes for group in found[-1].ours] == [("concat",), ("last",)]


def test_what_hangs_together_by_several_kernels_is_one_match(monkeypatch):
    chain = agreement(monkeypatch, ("right", "concat"), ("concat", "last"), ("left", "last"))
    assert [len(match.nvidia) for match in chain] == [3]
    assert sorted(node for group in chain[0].ours for node in group.nodes) == ["concat", "last", "left", "right"]


def _tensor(shape, strides):
    return TensorInfo(name="t", shape=shape, dtype="Float", strides=strides)


def _kernel(before, after):
    return Kernel(name="k", type="kgen", tactic="", stream=0, onnx_nodes=(), inputs=(before,), outputs=(after,))


def test_strides_tell_slices_and_layouts():
    whole, part = _tensor((1, 8, 8, 8), (512, 64, 8, 1)), _tensor((1, 8, 8, 8), (1536, 64, 8, 1))
    last = _tensor((1, 8, 8, 8), (512, 1, 64, 8))
    assert [is_slice(tensor) for tensor in (whole, part, last)] == [False, True, False]
    assert is_slice(_tensor((4, 16), (32, 1)))
    assert not is_slice(_tensor((4, 16), None))
    assert changes_layout(_kernel(whole, last))
    assert changes_layout(_kernel(last, part))
    assert not changes_layout(_kernel(whole, part))
