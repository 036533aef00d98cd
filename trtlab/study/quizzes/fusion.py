"""study/quizzes/fusion: the quizzes of graph optimisation: what fuses, what is saved, what is refused, who goes first.

Each `@asked` pair is a truth function, which rewrites a small model or reads NVIDIA's build of it, and the words around
what it found. tests/study/test_quizzes_fusion.py recomputes the answers by other means.
"""

import numpy as np

from trtlab.study.quiz import Choice, Number, Option, Ordering, Several, Slip, Step, Truth
from trtlab.study.quizzes import asked
from trtlab.study.quizzes.found import computed
from trtlab.study.witnesses import homes, is_fused, report_on, rewritten

# --- vertical ---------------------------------------------------------------------------------------------------------


def kernels_of_conv_bn_relu() -> Truth:
    report = report_on("conv_bn_relu_conv")
    kernels = homes(report, "conv", "bn", "relu")
    evidence = f"Of {len(report.kernels)} kernels these hold them: {', '.join(kernel.name for kernel in kernels)}."
    return Truth(value=len(kernels), evidence=evidence, provenance=report.provenance)


@asked("q2-conv-bn-relu", truth=kernels_of_conv_bn_relu)
def conv_bn_relu(name: str, truth: Truth) -> Number:
    return Number(
        name=name,
        truth=truth,
        unit="kernels",
        question="Convolution, batch normalisation, ReLU, and a second convolution behind them. In how many of "
        "NVIDIA's kernels are the first three?",
        explanation="The kernel's name says what it does: Corr, Mul, Add, Relu. Here BatchNorm is not folded into the "
        "weights; it stays a Mul and an Add behind the convolution, and costs no pass of its own.",
        slips=(
            Slip(value=3, why="One for each node is what an interpreter launches. Numbers stay in registers here."),
            Slip(value=2, why="That is what happens if the ReLU's result is the network's output: the last kernel has "
            "to change the layout anyway, and takes BatchNorm and ReLU along."),
            Slip(value=4, why="That is the whole build: two of them are the second convolution and its way out."),
            Slip(value=0, why="The arithmetic has to happen somewhere."),
        ),
    )  # fmt: skip


def folded_weight() -> Truth:
    from trtlab.graph.rules.conv_bn_folding import fold

    norm = [np.array([value]) for value in (2.0, 0.3, 0.7, 0.24)]  # scale, bias, mean, variance
    weight, bias = fold(np.array([[1.5]]), np.zeros(1), norm, 0.01)
    return computed(
        float(weight[0, 0]), f"The rule's own function gives the weight {weight[0, 0]:g}, bias {bias[0]:g}."
    )


@asked("q2-fold-by-hand", truth=folded_weight)
def fold_by_hand(name: str, truth: Truth) -> Number:
    return Number(
        name=name,
        truth=truth,
        unit="",
        tolerance=0.01,
        question="A weight of a convolution is 1.5. BatchNorm follows, with gamma 2, beta 0.3, mean 0.7, variance 0.24 "
        "and epsilon 0.01. What is the weight after folding?",
        explanation="w · gamma / sqrt(variance + epsilon) = 1.5 · 2 / 0.5. Mean and beta go into the bias alone: "
        "(0 − 0.7) · 4 + 0.3.",
        slips=(
            Slip(value=12, why="Divided by the variance. It is the standard deviation that normalises: take the root."),
            Slip(value=3 / 0.24**0.5, why="Epsilon was forgotten. It stands under the root, beside the variance."),
            Slip(value=3, why="Gamma alone. Normalising divides by the standard deviation, too."),
            Slip(value=1.5, why="Multiplied by the standard deviation, where it should be divided."),
            Slip(value=-2.5, why="That is the new bias."),
        ),
    )


def refused_by_vertical_fusion() -> Truth:
    names = ("conv_relu", "matmul_relu", "residual", "matmul_two_readers")
    refusals = {name: rewritten(name, "vertical_fusion")[2].refusals for name in names}
    ((name, (refusal,)),) = [pair for pair in refusals.items() if pair[1]]
    return computed(name, f"The rule on all four. Its one refusal: {refusal.reason}.")


@asked("q2-spot-the-refusal", truth=refused_by_vertical_fusion)
def spot_the_refusal(name: str, truth: Truth) -> Choice:
    return Choice(
        name=name,
        truth=truth,
        question="Vertical fusion looks at four graphs. Which one does it refuse?",
        explanation="A tensor can stay in registers only if nobody outside the kernel needs it. Two readers, or a mark "
        "as output, and it has to be written. Running the product twice would cost more than it saves.",
        options=(
            Option(
                key="matmul_two_readers",
                text="MatMul; its result goes into a ReLU and into a Sigmoid",
                why="Fused with one of them, the product would be missing for the other.",
            ),
            Option(
                key="conv_relu",
                text="Convolution with a bias, then ReLU",
                why="The standard case: one reader, and each number is finished while it is in a register.",
            ),
            Option(
                key="matmul_relu",
                text="MatMul without a bias, then ReLU",
                why="A bias is not needed: any pointwise reader will do.",
            ),
            Option(
                key="residual",
                text="Convolution, plus the block's input, then ReLU",
                why="The addition is pointwise. That its other input comes from elsewhere only means one more read.",
            ),
        ),
    )


def rules_in_order() -> Truth:
    rules = ("dead_layers", "constant_folding", "conv_bn_folding", "vertical_fusion")
    needs: dict[str, tuple[str, ...]] = dict.fromkeys(rules, ())
    for left_out in rules:
        *_, report = rewritten("conv_identity_bn_relu", *(rule for rule in rules if rule != left_out))
        ran = {step.rule for step in report.steps}
        needs |= {rule: (*needs[rule], left_out) for rule in rules if rule not in ran and rule != left_out}
    said = [f"{rule} does nothing without {', '.join(needed)}" for rule, needed in needs.items() if needed]
    return computed(needs, f"Each rule was left out once: {'; '.join(said)}.")


@asked("q2-rule-order", truth=rules_in_order)
def rule_order(name: str, truth: Truth) -> Ordering:
    return Ordering(
        name=name,
        truth=truth,
        question="Convolution, Identity, BatchNorm, ReLU; BatchNorm's gamma is a product of two constants. Which rule "
        "has to run when? Two may come in either order.",
        explanation="First what shrinks the graph, then what changes weights, then what makes kernels. A rule sees "
        "only its pattern: an Identity in between, or a gamma that is still a Mul, and it finds nothing.",
        steps=(
            Step(key="dead_layers", text="Take out what changes nothing"),
            Step(key="constant_folding", text="Fold constants"),
            Step(
                key="conv_bn_folding",
                text="Fold BatchNorm into the convolution",
                why="It wants BatchNorm right behind the convolution, and all its vectors constant.",
            ),
            Step(
                key="vertical_fusion",
                text="Fuse the convolution with ReLU",
                why="ReLU is the convolution's reader only after BatchNorm is gone.",
            ),
        ),
    )


# --- pointwise --------------------------------------------------------------------------------------------------------


def unfused_bytes() -> Truth:
    from trtlab.graph.cost import node_costs
    from trtlab.lab import builds

    costs = node_costs(builds.model("multiply_add_relu"))
    parts = ", ".join(f"{node} {cost.bytes_moved:,}" for node, cost in costs.items())
    return computed(sum(cost.bytes_moved for cost in costs.values()), f"Counted from the graph, in bytes: {parts}.")


@asked("q2-bytes-unfused", truth=unfused_bytes)
def bytes_unfused(name: str, truth: Truth) -> Number:
    return Number(
        name=name,
        truth=truth,
        unit="bytes",
        question="ReLU(A * B + C) runs as three kernels; A, B and C have 256 numbers of FP32 each. How many bytes do "
        "the kernels read and write?",
        explanation="Multiply reads 2 tensors and writes 1, add the same, ReLU reads 1 and writes 1: 8 tensors of "
        "1,024 bytes. Half of it is X and Y, which nobody asked for.",
        slips=(
            Slip(value=4096, why="That is the fused kernel: A, B and C read once, the result written once."),
            Slip(value=2048, why="8 tensors of 256 numbers, but a number of FP32 has 4 bytes."),
            Slip(value=3072, why="Only what is written, or the three inputs. Results in the middle are read again."),
            Slip(value=5120, why="What is read. What is written counts as well."),
            Slip(value=6144, why="Each kernel as one read and one write. Multiply and add read two tensors."),
        ),
    )  # fmt: skip


def best_speedup() -> Truth:
    from trtlab.graph.cost import Device, roofline_s

    before, after, _ = rewritten("multiply_add_relu")
    device = Device(name="any that waits for memory", flops=1e15, bandwidth=1e9)
    ratio = roofline_s([before], device) / roofline_s([after], device)
    return computed(ratio, f"{before.bytes_moved:,} bytes unfused, {after.bytes_moved:,} fused, at the same bandwidth.")


@asked("q2-three-to-one", truth=best_speedup)
def three_to_one(name: str, truth: Truth) -> Number:
    return Number(
        name=name,
        truth=truth,
        unit="times",
        question="The same three kernels become one. The tensors are large, so launches do not matter and memory "
        "decides. How many times faster is it, at best?",
        explanation="8N became 4N. Time follows bytes, not kernels: three inputs and a result remain to be moved, "
        "whoever does the arithmetic. Small tensors can gain more, because there launches decide.",
        slips=(
            Slip(value=3, why="Three kernels became one, but each of the three moved less than the one does now."),
            Slip(value=8, why="8N is the traffic before. After fusion 4N is left."),
            Slip(value=4, why="4N is the traffic that is left. The ratio is 8N to 4N."),
            Slip(value=1, why="The arithmetic is the same, but arithmetic was not what took the time."),
        ),
    )


def kernels_of_a_chain() -> Truth:
    report = report_on("chain_16")
    evidence = f"{report.onnx_nodes} nodes, built: {', '.join(kernel.name for kernel in report.kernels)}."
    return Truth(value=len(report.kernels), evidence=evidence, provenance=report.provenance)


@asked("q2-pointwise-chain", truth=kernels_of_a_chain)
def pointwise_chain(name: str, truth: Truth) -> Number:
    return Number(
        name=name,
        truth=truth,
        unit="kernels",
        question="A chain of 16 elementwise operators: Add, Max, Add, Max, …, ReLU. How many kernels does NVIDIA's "
        "builder make of it?",
        explanation="There is no table of pairs. The builder generates a kernel for the whole region, and its name "
        "spells out the operators. 128 of them are one kernel, too.",
        slips=(
            Slip(value=16, why="One for each operator is the unfused count."),
            Slip(value=8, why="Fusing pairs is what a list of patterns would do. Kernels are generated here."),
            Slip(value=2, why="The ReLU at the end is as elementwise as the rest."),
            Slip(value=3, why="There is no limit of that kind: one loop body holds as many operators as you like."),
        ),
    )


def middle_as_output() -> Truth:
    pointwise, convolution = report_on("multiply_add_relu_shown"), report_on("conv_relu_shown")
    fused = is_fused(pointwise, "multiply", "add", "relu"), is_fused(convolution, "conv", "relu")
    keys = {(True, True): "both", (True, False): "pointwise", (False, True): "convolution", (False, False): "neither"}
    names = [", ".join(kernel.name for kernel in report.kernels) for report in (pointwise, convolution)]
    evidence = f"Pointwise: {names[0]}. Convolution: {names[1]}."
    return Truth(value=keys[fused], evidence=evidence, provenance=convolution.provenance)


@asked("q2-middle-output", truth=middle_as_output)
def middle_output(name: str, truth: Truth) -> Choice:
    return Choice(
        name=name,
        truth=truth,
        question="For debugging you mark a tensor in the middle as an output: A * B in ReLU(A * B + C), and the "
        "convolution's result in convolution and ReLU. Where is NVIDIA's fusion still there?",
        explanation="The generated pointwise kernel writes a second tensor as it goes. The convolution's kernel does "
        "not; ReLU moved into the one behind it. Looking changed what you looked at.",
        options=(
            Option(
                key="pointwise",
                text="In the pointwise chain alone",
                why="One kernel with two outputs there; a convolution without its ReLU here.",
            ),
            Option(
                key="neither",
                text="Nowhere: an output in the middle always breaks a fusion",
                why="The usual rule of thumb. The tensor has to be written, but the kernel may write it besides.",
            ),
            Option(
                key="both",
                text="In both: the kernel simply writes one tensor more",
                why="True of the pointwise kernel. The convolution's kernel wrote its own result alone.",
            ),
            Option(
                key="convolution",
                text="In convolution and ReLU alone",
                why="The other way round: the convolution is the one that lost its ReLU.",
            ),
        ),
    )


# --- horizontal, constants, concatenation -----------------------------------------------------------------------------


def parallel_convolutions() -> Truth:
    report = report_on("wide_inception")
    kernels = homes(report, "conv1", "conv2", "conv3")
    streams = {kernel.stream for kernel in kernels}
    many = "streams" if len(streams) == len(kernels) else "serial"
    evidence = "; ".join(f"{kernel.name} on stream {kernel.stream}" for kernel in kernels)
    return Truth(value="one" if len(kernels) == 1 else many, evidence=f"{evidence}.", provenance=report.provenance)


@asked("q2-parallel-convolutions", truth=parallel_convolutions)
def parallel(name: str, truth: Truth) -> Choice:
    return Choice(
        name=name,
        truth=truth,
        question="Three 1×1 convolutions with ReLU read the same 64 × 56 × 56 tensor. What does TensorRT for RTX 1.7 "
        "make of them?",
        explanation="NVIDIA's slide of Inception merges them into a wider one. This compiler fuses each with its ReLU "
        "and lets them run side by side. Matrix products of one input it does merge: look at the list of kernels.",
        options=(
            Option(
                key="streams",
                text="Three kernels, on three streams",
                why="With signals and waits between the streams, so that the next layer waits for all three.",
            ),
            Option(
                key="one",
                text="One wider convolution and a split",
                why="The textbook's horizontal fusion, and what our own rule does. Nobody promises it.",
            ),
            Option(
                key="serial",
                text="Three kernels, one after another on one stream",
                why="So it goes for 8 channels of 8 × 8: the builder spends streams on large layers only.",
            ),
        ),
    )


def folded_bytes() -> Truth:
    report = report_on("constant_subgraph")
    evidence = f"The builder's log; its one kernel holds {', '.join(sorted(report.kernels[0].onnx_nodes))}."
    return Truth(value=report.weights_bytes or 0, evidence=evidence, provenance=report.provenance)


@asked("q2-folded-weights", truth=folded_bytes)
def folded_weights(name: str, truth: Truth) -> Number:
    return Number(
        name=name,
        truth=truth,
        unit="bytes",
        question="x * Expand(Sqrt(2 * 3), [2, 4]), all FP32. How many bytes of weights are in NVIDIA's engine?",
        explanation="Everything but the last Mul is folded, and its value, the 2 × 4 grid, is stored: 8 numbers of 4 "
        "bytes. Folding trades work for size; a large Expand or ConstantOfShape can bloat a model.",
        slips=(
            Slip(value=4, why="One number would do, if the builder broadcast the scalar. It stored the grid."),
            Slip(value=8, why="2 and 3, as they were. They are gone: only their result is needed."),
            Slip(value=0, why="The product still needs a second factor, and that is not an input."),
            Slip(value=24, why="2, 3 and the two sizes, unfolded. The integers never reach the GPU."),
        ),
    )  # fmt: skip


def copied_concats() -> Truth:
    producers = {
        "raw_concat": (), "pointwise_concat": ("exp", "relu"), "matmul_concat": ("matmul1", "matmul2"),
        "wide_inception": ("conv1", "conv2", "conv3"),
    }  # fmt: skip
    copies = {name: _copies(name, *made) for name, made in producers.items()}
    evidence = "; ".join(f"{name}: {', '.join(found) or 'none'}" for name, found in copies.items())
    value = tuple(name for name, found in copies.items() if found)
    return Truth(value=value, evidence=f"Kernels that copy. {evidence}.", provenance=report_on("raw_concat").provenance)


def _copies(name: str, *producers: str) -> list[str]:
    """Kernels that compute nothing, and are the Concat itself or read what its producers wrote."""
    report = report_on(name)
    parts = {tensor.name for kernel in homes(report, *producers) for tensor in kernel.outputs}
    idle = [kernel for kernel in report.kernels if set(kernel.onnx_nodes) <= {"concat"}]
    return [kernel.name for kernel in idle if kernel.onnx_nodes or parts & {tensor.name for tensor in kernel.inputs}]


@asked("q2-concat", truth=copied_concats)
def concat(name: str, truth: Truth) -> Several:
    return Several(
        name=name,
        truth=truth,
        question="Which of these Concats cost a copy in NVIDIA's build?",
        explanation="A Concat is free when its producers write right into their slices. That takes a producer, and one "
        "that can write with the stride of the whole.",
        options=(
            Option(key="raw_concat", text="Of two inputs of the network", why="They have memory of their own already."),
            Option(
                key="matmul_concat",
                text="Of two matrix products, side by side",
                why="Each product is written densely, and a Move puts it into its columns.",
            ),
            Option(
                key="pointwise_concat",
                text="Of an Exp and a ReLU",
                why="One generated kernel computes both, and writes each number where it belongs.",
            ),
            Option(
                key="wide_inception",
                text="Of three convolutions, with a fourth that reads the result",
                why="The convolutions write 64 channels each with the stride of all 192.",
            ),
        ),
    )
