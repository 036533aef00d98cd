"""study/quizzes/workflow: the quizzes of the third question, the workflow from export to answer.

Each `@asked` pair is a truth function, which looks at the engine room's stages, the installed compiler or a build
report, and the words around what it found. tests/study/test_quiz.py grades replies to each.
"""

from trtlab.study.quiz import Choice, Number, Option, Ordering, Several, Slip, Step, Truth
from trtlab.study.quizzes import asked, found
from trtlab.study.quizzes.found import api_truth, memory_bytes, recorded_report

# --- the order of things --------------------------------------------------------------------------------------------


@asked("q3-stage-order", truth=found.build_needs)
def stage_order(name: str, truth: Truth) -> Ordering:
    return Ordering(
        name=name,
        truth=truth,
        question="A trained torch module is to become an engine in a server; no unchecked file may reach NVIDIA's "
        "parser. Put the stages in an order that works.",
        explanation="Up to the plan file everything happens once, on a build machine. Configuring may come any time "
        "before the build. Only the last stage happens in the server, and it never sees ONNX.",
        steps=(
            Step(key="export", text="Export the module to ONNX"),
            Step(key="check", text="Check the file with `onnx.checker`", why="There has to be a file to check."),
            Step(
                key="parse",
                text="Parse: ONNX nodes become network layers",
                why="The parser reads the file. It would read an unchecked one, too: some malformed files crash it.",
            ),
            Step(
                key="configure",
                text="Configure: flags, memory pools, optimisation profiles",
                why="Needs no network: a profile names inputs, and whether it fits them is looked at by the build.",
            ),
            Step(
                key="build",
                text="Build: fuse, choose kernels, plan memory",
                why="`build_serialized_network(network, config)` takes both, and the plan comes out of that call.",
            ),
            Step(
                key="serialise", text="Serialise: write the plan to a file", why="The plan is what the build returns."
            ),
            Step(
                key="deserialise",
                text="Deserialise: a runtime turns the plan into an engine",
                why="The server reads the plan's file; it must have been written.",
            ),
        ),
    )


@asked("q3-inference-order", truth=found.runtime_needs)
def inference_order(name: str, truth: Truth) -> Ordering:
    return Ordering(
        name=name,
        truth=truth,
        question="A plan file lies on the server. Put the way to the first trusted answer in an order that works.",
        explanation="On one stream: copy in, enqueue, copy out; then synchronise before the host reads. Engine and "
        "context are made once. The first copy in may even come before them: it is CUDA's, and needs only a buffer.",
        steps=(
            Step(key="deserialise", text="Deserialise the plan into an engine"),
            Step(
                key="context",
                text="Create an execution context",
                why="`create_execution_context` is a method of the engine.",
            ),
            Step(
                key="host_to_device",
                text="Copy the inputs to the GPU",
                why="Needs no TensorRT object: a buffer on the GPU, large enough for the input.",
            ),
            Step(
                key="enqueue",
                text="Enqueue: `execute_async_v3(stream)`",
                why="It is a method of the context, and its kernels read what the copy wrote.",
            ),
            Step(
                key="device_to_host",
                text="Copy the outputs back, then synchronise",
                why="Before the kernels have run, the output buffer holds old data.",
            ),
            Step(
                key="compare",
                text="Compare with a reference such as ONNX Runtime",
                why="The answer has to be in host memory, after a synchronisation.",
            ),
        ),
    )


# --- calls: what exists, and who has it -----------------------------------------------------------------------------


def calls_that_run() -> Truth:
    return api_truth("IExecutionContext", ("execute_v2", "execute_async_v2", "execute_async", "execute"), one=True)


@asked("q3-sync-call", truth=calls_that_run)
def sync_call(name: str, truth: Truth) -> Choice:
    return Choice(
        name=name,
        truth=truth,
        question="Four calls from old tutorials. Which one does an execution context of the compiler here still have?",
        explanation="`execute_v2` is the synchronous call with a list of pointers. It is often believed dead, because "
        "its asynchronous sister was removed in 10.0. For throughput use `set_tensor_address` and `execute_async_v3`.",
        options=(
            Option(
                key="execute_v2",
                text="`execute_v2(bindings)`",
                why="Synchronous, pointers in the order of the I/O tensors. It was never removed.",
            ),
            Option(
                key="execute_async_v2",
                text="`execute_async_v2(bindings, stream)`",
                why="Tempting, as it is in most tutorials (`enqueueV2` in C++). Deprecated in 8.5, removed in 10.0; "
                "`execute_async_v3` took its place.",
            ),
            Option(
                key="execute_async",
                text="`execute_async(batch_size, bindings, stream)`",
                why="The batch size gives it away: this belongs to implicit batch, which is gone since 10.0.",
            ),
            Option(
                key="execute",
                text="`execute(batch_size, bindings)`",
                why="The plainest name, so it looks safe. It took an implicit batch size and left with it in 10.0.",
            ),
        ),
    )


def flags_that_exist() -> Truth:
    return api_truth("BuilderFlag", ("FP16", "INT8", "TF32", "REFIT", "OBEY_PRECISION_CONSTRAINTS", "WEIGHT_STREAMING"))


@asked("q3-builder-flags", truth=flags_that_exist)
def builder_flags(name: str, truth: Truth) -> Several:
    typed = "FP16" not in truth.value
    gone = "Tempting: for years this was how precision was chosen. Since 11.0 networks are strongly typed: {}."
    here = "This compiler is older than 11, which dropped the flag for strongly typed networks."
    return Several(
        name=name,
        truth=truth,
        question="Which of these builder flags does the compiler here have?",
        explanation="Precision now stands in the model, so its flags are gone; what stays are permissions such as TF32 "
        "and properties of the plan."
        if typed
        else "This is a compiler before 11: precision flags are still there. In 11 precision stands in the model.",
        options=(
            Option(key="FP16", text="`FP16`", why=gone.format("export an FP16 model") if typed else here),
            Option(key="INT8", text="`INT8`", why=gone.format("put Q/DQ nodes into the model") if typed else here),
            Option(
                key="TF32",
                text="`TF32`",
                why="It survives, and is on by default: TF32 changes how FP32 products are computed, no tensor's type.",
            ),
            Option(
                key="REFIT",
                text="`REFIT`",
                why="A property of the plan: its weights may be exchanged later without a rebuild.",
            ),
            Option(
                key="OBEY_PRECISION_CONSTRAINTS",
                text="`OBEY_PRECISION_CONSTRAINTS`",
                why="It sounds like strong typing and came before it: it made wishes per layer binding. Since 11.0 "
                "there are no wishes left to obey."
                if typed
                else here,
            ),
            Option(
                key="WEIGHT_STREAMING",
                text="`WEIGHT_STREAMING`",
                why="A property of the plan: weights may stay in host memory and be streamed in.",
            ),
        ),
    )


def workspace_lines() -> Truth:
    lines = ("IBuilderConfig.max_workspace_size", "Builder.max_workspace_size", "IBuilderConfig.set_memory_pool_limit")
    return api_truth("", (*lines, "INetworkDefinition.workspace"), one=True)


@asked("q3-workspace", truth=workspace_lines)
def workspace(name: str, truth: Truth) -> Choice:
    return Choice(
        name=name,
        truth=truth,
        question="A build may plan with at most 1 GiB of workspace. Which line says so to the compiler here?",
        explanation="Workspace is one of several memory pools. The limit bounds the scratch memory of tactics and the "
        'planned block of activations: too low, and the build fails. `claim("C75")` builds with three limits.',
        options=(
            Option(
                key="IBuilderConfig.set_memory_pool_limit",
                text="`config.set_memory_pool_limit(trt.MemoryPoolType.WORKSPACE, 1 << 30)`",
                why="The pool is named, because there are others, such as those of DLA.",
            ),
            Option(
                key="IBuilderConfig.max_workspace_size",
                text="`config.max_workspace_size = 1 << 30`",
                why="The line of every TensorRT 7 and 8 tutorial. It was removed in 10.0.",
            ),
            Option(
                key="Builder.max_workspace_size",
                text="`builder.max_workspace_size = 1 << 30`",
                why="Older still: settings moved from the builder to its configuration long ago.",
            ),
            Option(
                key="INetworkDefinition.workspace",
                text="`network.workspace = 1 << 30`",
                why="The network only says what to compute; how to build it is said in the configuration.",
            ),
        ),
    )


def context_calls() -> Truth:
    asked_for = ("set_input_shape", "set_tensor_address", "set_optimization_profile_async", "get_tensor_name")
    return api_truth("IExecutionContext", (*asked_for, "create_execution_context", "build_serialized_network"))


@asked("q3-context-state", truth=context_calls)
def context_state(name: str, truth: Truth) -> Several:
    return Several(
        name=name,
        truth=truth,
        question="One engine, two threads, a context each. Which calls go to the context, not to another object?",
        explanation="What differs between two requests is state of the context: profile, shapes, addresses, "
        "activations. What holds for all of them, names and weights, is the engine's and immutable.",
        options=(
            Option(
                key="set_input_shape",
                text="`set_input_shape(name, shape)`",
                why="Each request may have its own shape, within the profile.",
            ),
            Option(
                key="set_tensor_address",
                text="`set_tensor_address(name, pointer)`",
                why="Each context reads and writes buffers of its own.",
            ),
            Option(
                key="set_optimization_profile_async",
                text="`set_optimization_profile_async(index, stream)`",
                why="A context runs one profile at a time; another context may run another.",
            ),
            Option(
                key="get_tensor_name",
                text="`get_tensor_name(index)`",
                why="About tensors, as the setters are; but names are fixed when the plan is built: ask the engine.",
            ),
            Option(
                key="create_execution_context",
                text="`create_execution_context()`",
                why="The name has “context” in it, but no context makes contexts: the engine does.",
            ),
            Option(
                key="build_serialized_network",
                text="`build_serialized_network(network, config)`",
                why="That is the builder's, and done before any engine exists.",
            ),
        ),
    )


def parsers_that_exist() -> Truth:
    return api_truth("", ("OnnxParser", "UffParser", "CaffeParser", "TensorFlowParser"), one=True)


@asked("q3-parsers", truth=parsers_that_exist)
def parsers(name: str, truth: Truth) -> Choice:
    return Choice(
        name=name,
        truth=truth,
        question="Older diagrams draw several frameworks flowing into TensorRT. Which parser does the compiler "
        "here have?",
        explanation="ONNX is the one file format. Beside it there are the network API, Torch-TensorRT and the "
        "execution provider of ONNX Runtime.",
        options=(
            Option(
                key="OnnxParser", text="`OnnxParser`", why="Every framework that exports ONNX comes in by this door."
            ),
            Option(
                key="UffParser",
                text="`UffParser`",
                why="UFF was NVIDIA's own format for frozen TensorFlow graphs, up to 8.6. Today: `tf2onnx`, then ONNX.",
            ),
            Option(
                key="CaffeParser",
                text="`CaffeParser`",
                why="The first parser of all, and in every old diagram. It was last shipped with 8.6.",
            ),
            Option(
                key="TensorFlowParser",
                text="`TensorFlowParser`",
                why="Diagrams suggest it, and it never existed: TensorFlow came by UFF, and comes by ONNX.",
            ),
        ),
    )


# --- what the builder does ------------------------------------------------------------------------------------------


def build_with_no_profile() -> Truth:
    return found.built(found.build_without_profile)


@asked("q3-missing-profile", truth=build_with_no_profile)
def missing_profile(name: str, truth: Truth) -> Choice:
    return Choice(
        name=name,
        truth=truth,
        question="The digits model has an input of shape [batch, 1, 8, 8] with a dynamic batch. It is built with no "
        "optimisation profile. What happens?",
        explanation="Each dynamic input needs minimum, optimum and maximum shapes before the build: kernels are chosen "
        "at the optimum and must be valid over the range.",
        options=(
            Option(
                key="build error",
                text="The build fails and says what is missing",
                why="Parsing succeeds, since -1 is a legal dimension; the builder then refuses to guess the range.",
            ),
            Option(
                key="batch 1",
                text="It builds, for batch 1",
                why="Tempting, because `trtexec` does fill in 1 for you, with a warning. The API does not.",
            ),
            Option(
                key="any batch",
                text="It builds, for any batch",
                why="ONNX Runtime works like that. TensorRT plans memory ahead and needs a maximum to plan for.",
            ),
            Option(
                key="parse error",
                text="The parser refuses the model",
                why="Early refusal would be handy, but the parser knows no profiles: they are in the configuration.",
            ),
        ),
    )


def weights_saved() -> Truth:
    wide, narrow = recorded_report("digits-FP32-SM89-dynamic"), recorded_report("digits-FP16-SM89-dynamic")
    before, after = memory_bytes(wide)[0], memory_bytes(narrow)[0]
    evidence = f"The builder's log: {before:,} bytes of weights in FP32, {after:,} in FP16."
    return Truth(value=(before - after) / 1024, evidence=evidence, provenance=narrow.provenance)


@asked("q3-fp16-weights", truth=weights_saved)
def fp16_weights(name: str, truth: Truth) -> Number:
    saved: float = truth.value
    return Number(
        name=name,
        truth=truth,
        unit="KiB",
        tolerance=round(0.05 * saved, 1),
        question="The digits model has about 38,100 weights. It is exported in FP16 instead of FP32 and built again. "
        "How many KiB of weights does the plan save?",
        explanation="Two bytes less for each weight, about 38,100 × 2 / 1,024 KiB. The plan's own figure differs a "
        "little, because the builder folds and pads weights. The file shrinks by less: it also holds kernels.",
        slips=(
            Slip(value=2 * saved, why="That is all of FP32, four bytes a weight. FP16 keeps half of it."),
            Slip(value=saved * 1024, why="That is the number in bytes; the question asks for KiB."),
            Slip(value=saved / 2, why="A quarter of FP32: that would be one byte saved per weight. FP16 saves two."),
            Slip(value=3 * saved / 2, why="Three quarters saved is what INT8 gives, with one byte for each weight."),
            Slip(value=8 * saved, why="Eight times too much: these are kibibits. 32 - 16 bits are two bytes."),
            Slip(value=saved / 1024, why="That is the number in MiB; the question asks for KiB."),
        ),
    )


def resnet_kernels() -> Truth:
    report = recorded_report("resnet18-FP16-SM89-static")
    return Truth(
        value=len(report.kernels),
        evidence=f"The builder's log: {report.onnx_nodes} ONNX nodes went in, {len(report.kernels)} kernels came out.",
        provenance=report.provenance,
    )


@asked("q3-resnet-kernels", truth=resnet_kernels)
def resnet18_kernels(name: str, truth: Truth) -> Number:
    return Number(
        name=name,
        truth=truth,
        unit="kernels",
        tolerance=3,
        question="ResNet-18 in FP16 as exported: 20 Conv, 20 BatchNormalization, 17 Relu, 8 Add, and 4 more: MaxPool, "
        "ReduceMean, Reshape, Gemm. About how many kernels does the engine for SM89 launch?",
        explanation="Count the convolutions, then add pooling, mean and Gemm: each convolution swallows the BatchNorm, "
        "Add and Relu behind it, and the Reshape costs nothing. The compiler adds a kernel that changes the layout.",
        slips=(
            Slip(value=69, why="One kernel per node is what running without fusion would cost."),
            Slip(value=49, why="Right that BatchNorm folds into Conv. Relu and the residual Add ride along as well."),
            Slip(value=32, why="BatchNorm and Relu are gone. The residual Add is fused too, into the Conv before it."),
            Slip(value=20, why="The convolutions alone. Pooling, mean and Gemm are kernels as well."),
            Slip(value=1, why="Logs of low detail show one ForeignNode. Inside it many kernels are launched."),
        ),
    )


def three_contexts() -> Truth:
    report = recorded_report("resnet18-FP32-SM89-static")
    weights, activations = memory_bytes(report)
    evidence = f"The builder's log: {weights:,} bytes of weights, {activations:,} of activations."
    return Truth(value=(weights + 3 * activations) / 2**20, evidence=evidence, provenance=report.provenance)


@asked("q3-context-memory", truth=three_contexts)
def context_memory(name: str, truth: Truth) -> Number:
    weights, activations = (size / 2**20 for size in memory_bytes(recorded_report("resnet18-FP32-SM89-static")))
    return Number(
        name=name,
        truth=truth,
        unit="MiB",
        tolerance=1.0,
        question=f"An engine (ResNet-18, FP32) holds {weights:.1f} MiB of weights; its activations take "
        f"{activations:.1f} MiB. Three threads serve it, one context each. How many MiB are weights and activations?",
        explanation="Weights belong to the engine and are there once; each context has activations of its own. That is "
        "why a second context is cheap, and a second engine is not.",
        slips=(
            Slip(value=3 * (weights + activations), why="That is three engines. Contexts of one engine share weights."),
            Slip(
                value=weights + activations, why="That is one context. Two running at once cannot share scratch space."
            ),
            Slip(value=3 * weights + activations, why="The other way round: weights are shared, activations are not."),
            Slip(value=3 * activations, why="The activations of three contexts; the weights are missing."),
            Slip(value=weights, why="The weights alone; each context adds its activations."),
        ),
    )


def equal_in_two_plans() -> Truth:
    return found.built(found.two_targets)


@asked("q3-two-targets", truth=equal_in_two_plans)
def two_targets(name: str, truth: Truth) -> Choice:
    return Choice(
        name=name,
        truth=truth,
        question="The digits model is built twice, for SM86 and for SM89, two neighbouring GPU "
        "generations. What is the same in both builds?",
        explanation="A plan belongs to its target, its TensorRT version and its platform. Equal kernel lists are no "
        "permission to copy a plan: build per target, or ask for compatibility and pay for it.",
        options=(
            Option(
                key="kernels",
                text="The list of kernels, but not the plan's bytes",
                why="The same fusions pay on both, so the lists agree; the plan still says which target it is for.",
            ),
            Option(
                key="bytes",
                text="The plan's bytes, but not the list of kernels",
                why="The list is read from the build of the very same plan: equal bytes would mean equal kernels.",
            ),
            Option(
                key="both",
                text="Both: such a plan can be copied",
                why="Tempting when lists and even sizes agree. A few bytes name the target, and a runtime looks.",
            ),
            Option(
                key="neither",
                text="Neither: another GPU, other kernels",
                why="That happens (FP8 needs SM89, for one). For this model both targets get the same fusions.",
            ),
        ),
    )
