"""Worlds that refute the claims: for each function of a proof, ours with one fact changed.

A world is a function that changes a witness through pytest's monkeypatch.
"""

import copy
import importlib.metadata
from dataclasses import replace

import numpy as np

from trtlab.engine import recordings
from trtlab.engine.nvidia import api as nvidia_api
from trtlab.engine.nvidia.report import Kernel, Phase
from trtlab.graph.rewrite import Report
from trtlab.lab import builds, compare, gemm, precision, race, streams, support
from trtlab.lab import fusion as fusion_lab
from trtlab.lab.support import Declared, Support
from trtlab.numeric import FORMATS, CodeBook, FloatFormat, IntegerFormat, calibrate, quantize
from trtlab.plan import tactics
from trtlab.study import witnesses
from trtlab.study.truths import formats, fusion, planning

API, TOLD = nvidia_api.recorded_api(), recordings.load(dict, witnesses.RECORDED)


def patched(owner, name, value):
    return lambda world: world.setattr(owner, name, value)


def with_values(**values):
    return lambda known: replace(known, **values)


def of_api(change):
    changed = replace(API, names=change(API.names))
    return patched(witnesses, "api", lambda: changed)


def of_history(**changes):
    changed = replace(support.api_history(), **changes)
    return patched(support, "api_history", lambda: changed)


def of_format(name, changed):
    return patched(formats, "fmt", (FORMATS | {name: changed}).__getitem__)


def of_referee(name, other):
    """Another library's codes for the format: an error of the referee, or of ours, must be seen."""
    known = formats.referee
    return patched(formats, "referee", lambda asked: known(other if asked == name else asked))


def of_cell(fmt, target, **values):
    recorded = support.recorded()
    changed = replace(recorded.cell(fmt, target), **values)

    def asked(name, where):
        cell = changed if (name, where) == (fmt, target) else recorded.cell(name, where)
        return Support(cells=(cell,), provenance=recorded.provenance)

    return patched(witnesses, "support", asked)


def of_recorded(name, change):
    known, changed = builds.recorded, change(builds.recorded(name))
    return patched(builds, "recorded", lambda asked: changed if asked == name else known(asked))


def of_report(name, change):
    return of_recorded(f"fusion-{name}-SM89", change)


def unfused(report):
    """Every node a kernel of its own, launched twice, on one stream; nothing was dropped or logged."""
    steps = [
        Kernel(
            name="k", type="kgen", tactic="", stream=0, onnx_nodes=(node,), inputs=layer.inputs, outputs=layer.outputs
        )
        for layer in report.layers
        for node in layer.onnx_nodes
    ]
    return replace(report, steps=(*steps, *steps), log=(), memory=report.memory | {"activation_bytes": 1})


def memory(**figures):
    return lambda report: replace(report, memory=report.memory | figures)


def steps(**values):
    return lambda report: replace(report, steps=tuple(replace(step, **values) for step in report.steps))


silent = with_values(log=())


def renamed(report):
    log = tuple(replace(line, text=line.text.replace("tensor merging", "tensor fusion")) for line in report.log)
    return replace(report, log=log)


def packed(report):
    outputs = [tuple(replace(t, strides=(1, 1, 1, 64)) for t in step.outputs) for step in report.steps]
    return replace(report, steps=tuple(map(lambda step, made: replace(step, outputs=made), report.steps, outputs)))


def phases(*, gone="", new=()):
    return lambda report: replace(report, phases=(*(p for p in report.phases if p.name != gone), *new))


def no_nodes(model):
    empty = copy.deepcopy(model)
    del empty.graph.node[:]
    return empty


def of_truth(find, **changes):
    """A compiler that tells something else where `find` asks it."""
    changed = {find: replace(witnesses.recorded(find), **changes)}
    return patched(witnesses, "built", lambda asked: changed.get(name_of(asked)) or as_recorded(asked))


def name_of(asked):
    return getattr(asked, "func", asked).__name__


def as_recorded(asked):
    """What a compiler told when it was recorded; what needs none to be found is found."""
    return witnesses.recorded(name_of(asked)) if name_of(asked) in TOLD else asked()


def limits(**changes):
    return of_truth("workspace_limits", value=witnesses.recorded("workspace_limits").value | changes)


def of_flow(make):
    def change(world):
        flow = make()
        world.setattr(witnesses, "flow", lambda: flow)

    return change


def with_records(**changes):
    """The workflow as it ran here, with other values in some stages' records."""
    flow = copy.copy(witnesses.flow())
    flow.records = flow.records | {name: replace(flow.records[name], **values) for name, values in changes.items()}
    return flow


def stage(name, change):
    """Another outcome of one stage."""
    return of_flow(lambda: with_records(**{name: {"artefact": change(witnesses.flow().artefact(name))}}))


def recording(**values):
    """As on a machine without a compiler: a report without plan, and no file."""
    report = replace(witnesses.flow().report.without_plan(), **values)
    return with_records(build={"artefact": report}, serialise={"artefact": None})


def of_arrays(change):
    known = fusion.arrays
    return patched(fusion, "arrays", lambda name: change(known(name)))


def of_tf32(**changes):
    known = formats.tf32()
    return patched(formats, "tf32", lambda: replace(known, facts=known.facts | changes))


def of_transfers(**changes):
    changed = replace(streams.load_transfers(), **changes)
    return patched(streams, "load_transfers", lambda: changed)


def pageable_as_fast(one):
    known = streams.load_transfers()
    slow = known.bandwidth("host_to_device", pinned=False, size_bytes=one.size_bytes)
    return of_transfers(copies=tuple(replace(c, bytes_per_s=slow) if c == one else c for c in known.copies))


def of_load(module, change):
    changed = change(module.load())
    return patched(module, "load", lambda *_: changed)


def all_as_long(sweep):
    return replace(sweep, rows=tuple(replace(row, time=sweep.rows[0].time) for row in sweep.rows))


def idle(world):
    rewritten = witnesses.rewritten
    nothing = Report(steps=(), refusals=(), counts=(), model_at=None)
    world.setattr(witnesses, "rewritten", lambda *asked: (*rewritten(*asked)[:2], nothing))


def one_left(report):
    """All kernels but one were chosen."""
    left = next(step for step in report.steps if step.tactic == planning.STUB)
    return replace(report, steps=tuple(s if s is left else replace(s, tactic="timed") for s in report.steps))


def floats(report):
    def as_float(tensors):
        return tuple(replace(tensor, dtype="Float") for tensor in tensors)

    return replace(report, steps=tuple(replace(k, inputs=as_float(k.inputs)) for k in report.steps))


def worlds_of_histograms():
    """A histogram of other values; a divergence of another distribution."""
    known, of = calibrate.candidate, calibrate.Histogram.of
    return [
        patched(calibrate.Histogram, "of", lambda values, **how: of(0.9 * values, **how)),
        patched(calibrate, "candidate", lambda h, bins: replace(known(h, bins), q=known(h, bins).p)),
    ]


def one_winner(known):
    """Every race was won by the same tactic."""
    return replace(known, races=tuple(replace(one, race=replace(one.race, winner="cudnn")) for one in known.races))


# --- worlds of each function of a proof ------------------------------------------------------------------------------


def other(name, **facts):
    return of_format(name, replace(FORMATS[name], **facts))


def worlds_of_fields(name, *bits):
    wrong = {"FP64": "FP32", "FP32": "FP16", "FP16": "BF16", "BF16": "FP16"}
    swap = {"FP8_E4M3": "FP8_E5M2", "FP8_E5M2": "FP8_E4M3", "FP4_E2M1": "FP8_E4M3"}
    return [other(name, mantissa_bits=bits[-1] - 1 or 2), of_referee(name, (wrong | swap)[name])]


def worlds_of_counts(expected):
    names = [*expected]
    return [
        *(of_referee(name, "FP8_E4M3" if name == "FP8_E5M2" else "FP8_E5M2") for name in names),
        *(other(name, bias=FORMATS[name].bias + 1) for name in names),
    ]


def worlds_of_reads(expected):
    """The product refused or taken, or of other types, where that is asked about."""
    found = []
    for fmt, targets in expected.items():
        for target in targets:
            refused = {"refusal": "not today", "by": "builder"}
            found.append(of_cell(fmt, target, **refused))
            found.append(of_cell(fmt, target, stored="Odd", reads=("Odd", "Odd"), refusal=""))
    return found


def worlds_of_api(has=None, lacks=None):
    """Each name that is asked for lost or gained, and an API without classes."""
    pairs = [(owner, name) for table in (has or {}, lacks or {}) for owner in table for name in table[owner].split()]

    def flipped(owner, name):
        return of_api(lambda known: known | {owner: tuple({*known[owner]} ^ {name})})

    return [of_api(lambda _: {}), *(flipped(*pair) for pair in pairs)]


def worlds_of_nothing_but(owner, _names):
    return [of_api(lambda known: known | {owner: (*known[owner], "FP64")}), of_api(lambda _: {})]


def worlds_of_history(states, **_tags):
    """Each name, or file, as it never was: in one state at all releases, unless that is what is said."""
    known = support.api_history()

    def always(name, state):
        if not name.endswith(".h"):
            return of_history(names=known.names | {name: dict.fromkeys(known.tags, state)})
        there = (name,) if state.value == "declared" else ()
        return of_history(headers={tag: (*({*files} - {name}), *there) for tag, files in known.headers.items()})

    return [
        always(name, state) for name, at in states.items() for state in Declared if set(at.values()) != {state.value}
    ]


def worlds_of_means(name, *_values):
    """Another format here, or to the referee."""
    unsigned = {bits: IntegerFormat(bits=bits, is_signed=False) for bits in (4, 8)}
    wrong = {
        "INT8": [unsigned[8]], "INT4": [unsigned[4]],
        "FP4_E2M1": [replace(FORMATS["FP4_E2M1"], bias=2), FloatFormat(exponent_bits=2, mantissa_bits=1)],
    }  # fmt: skip
    return [of_referee(name, "FP8_E5M2"), *(of_format(name, other) for other in wrong[name])]


def worlds_of_build(model, logged="", has=None, **_nodes):
    figures = set(has or {})
    asked = {
        unfused: True, silent: logged, memory(weights_bytes=8, activation_bytes=8): {"weights", "planned"} & figures,
        (lambda report: replace(report, layers=(*report.layers, report.layers[-1]))): "layers" in figures,
    }  # fmt: skip
    return [of_report(model, change) for change, is_asked in asked.items() if is_asked]


def worlds_of_answers(find, _value, *words):
    """Another answer of the function that a quiz asks as well, or other words."""
    if words:
        return [of_truth(find, value="built"), of_truth(find, evidence="Plugin not found.")]
    misplaced = builds.recorded("fusion-qdq_before_relu-SM89")
    return {
        "parallel_convolutions": [of_report("wide_inception", change) for change in (unfused, steps(stream=0))],
        "memory_of_contexts": [
            of_recorded("resnet18-FP32-SM89-static", memory(**{figure: None}))
            for figure in ("weights_bytes", "activation_bytes")
        ],
        "two_targets": [of_truth("two_targets", value=value) for value in ("both", "neither")],
        "memory_of_a_chain": [
            of_truth("memory_of_chains", value=sizes)
            for sizes in ({"2": 2**25, "12": 12 * 2**24}, {"2": 2**24, "12": 2**24}, {"2": 2**25, "12": 2**25 + 2**22})
        ],
        "memory_of_auxiliary_streams": [
            of_truth("memory_with_auxiliary_streams", value={"0": [8, 1], "1": [9, 2], "3": [last, 3]})
            for last in (8, 7)
        ],
        "place_of_the_pair": [
            of_report("qdq_behind_relu", change) for change in (floats, lambda _: misplaced, unfused)
        ],
    }[find if isinstance(find, str) else next(iter(find))]


def unfused_each(*names):
    return [of_report(name, unfused) for name in names]


def longer(known):
    (a, b), made = known["multiply"]
    return known | {"multiply": ([np.append(a, a), b], made)}


def one_bit_more(known):
    read, (made,) = known["relu"]
    return known | {"relu": (read, [np.nextafter(made, np.float32(9))])}


def nothing_to_round(_known):
    ones, two = np.ones((16, 16), np.float32), np.full((16, 16), 2, np.float32)
    return {"multiply": ([ones, ones], [ones]), "add": ([ones, ones], [two]), "relu": ([two], [two])}


UNIFORM = CodeBook(name="NF4", entries=[k / 8 for k in range(-8, 8)])
CHAIN, NF4_TABLE, PACK, TF32 = fusion.CHAIN, formats.nf4_table(), quantize.pack, formats.tf32().facts
PINNED = [copy for copy in streams.load_transfers().copies if copy.direction == "host_to_device" and copy.pinned]
WORLDS = {
    "fields": worlds_of_fields, "counts": worlds_of_counts, "reads": worlds_of_reads, "api": worlds_of_api,
    "nothing_but": worlds_of_nothing_but,
    "history": worlds_of_history, "means": worlds_of_means, "build": worlds_of_build,
    "answers": worlds_of_answers,
    "fp16_ends_at_65504": lambda: [of_format("FP16", FORMATS["BF16"])],
    "int4_packed": lambda: [patched(quantize, "pack", lambda codes: PACK(codes[::-1]))],
    "int4_bytes": lambda: [of_cell("INT4", "SM89", weights_bytes=2**20), of_cell("FP16", "SM89", weights_bytes=None)],
    "bf16_is_the_upper_half": lambda: [of_format("BF16", FORMATS["FP16"]), of_referee("BF16", "FP16")],
    "bf16_range": lambda: [of_format("BF16", FORMATS["FP16"]), of_referee("BF16", "FP16"), of_referee("FP16", "BF16")],
    "bf16_errors": lambda: [of_format("BF16", FORMATS["FP16"]), of_referee("BF16", "FP16"), of_referee("FP16", "BF16")],
    "tf32_reads": lambda mantissa, _exponents: [
        other("TF32", mantissa_bits=mantissa - 1), of_tf32(dtype="float16"), of_tf32(minus=1.0),
        of_tf32(mantissa=mantissa + 1), of_tf32(exponents=40),
        *(of_tf32(numbers={**TF32["numbers"], name: [2.0, 2.0, "2.0"]}) for name in TF32["numbers"]),
    ],
    "tf32_errors": lambda: [
        *(of_tf32(errors={"FP32": 1e-6, "TF32": error}) for error in (1e-6, 0.1)), of_tf32(sum=0.0),
    ],
    "default_flags": lambda expected: [stage("build", with_values(flags=flags)) for flags in ((), ("FP16", *expected))],
    "nf4_has_no_sign_bit": lambda: [
        of_format("NF4", UNIFORM), of_referee("FP4_E2M1", "FP8_E4M3"),
        patched(formats, "nf4_table", lambda: FORMATS["FP4_E2M1"].decode(np.arange(16))),
    ],
    "nf4_quantiles": lambda: [
        of_format("NF4", UNIFORM), of_format("INT4", FORMATS["NF4"]), patched(formats, "nf4_table", lambda: -NF4_TABLE),
    ],
    "five_techniques": lambda: [
        *(of_report("wide_inception", change) for change in (
            unfused, memory(activation_bytes=0), steps(stream=0), steps(tactic="a kernel that was timed"))),
        of_cell("INT8", "SM89", refusal="not today"), of_cell("INT8", "SM89", reads=("Half", "Half")),
        *(patched(nvidia_api, "recorded_api", lambda owner=owner: replace(API, names=API.names | {owner: ()}))
          for owner in ("DataType", "INetworkDefinition", "IRuntimeConfig")),
    ],
    "launches_and_bytes_saved": lambda names: [
        *unfused_each(*names), of_arrays(lambda known: dict.fromkeys(known, ([], []))),
    ],
    "planned_memory": lambda: [
        *unfused_each("matmul_relu", "matmul_two_readers"),
        of_report("matmul_relu", memory(activation_bytes=8_454_144)),
        of_report("matmul_two_readers", memory(activation_bytes=8_192_000)),
    ],
    "name_of_pointwise_fusion": lambda: [of_report(CHAIN, change) for change in (unfused, silent, renamed)],
    "results_that_change": lambda: [
        patched(fusion, "changed", lambda _model, given, _result, counts=counts: counts[given])
        for counts in ({"a": 256, "x": 8}, {"a": 1, "x": 1})
    ],
    "eight_n": lambda: [of_arrays(longer), of_arrays(lambda known: {n: known[n] for n in ("multiply", "relu")})],
    "launches_take_time": lambda: [of_load(fusion_lab, all_as_long)],
    "one_loop": lambda: [of_arrays(one_bit_more), of_arrays(nothing_to_round)],
    "kernels_of_chains": lambda expected: unfused_each(*(CHAIN if n == 3 else f"chain_{n}" for n in expected)),
    "other_folders": lambda: [
        patched(compare, "OPTIMIZERS", dict(compare.OPTIMIZERS) | {title: lambda model: model})
        for title in ("onnxslim", "ONNX Runtime BASIC", "trtlab")
    ],
    "concat_in_place": lambda: [
        *unfused_each("wide_inception", "raw_concat", "matmul_concat"), of_report("wide_inception", packed), idle,
    ],
    "nodes_become_layers": lambda: [
        of_flow(lambda: with_records(check={"came_out": "invalid"})), stage("check", no_nodes),
        stage("parse", with_values(layers=())), stage("parse", with_values(onnx_nodes=0)),
        stage("parse", lambda parsed: replace(parsed, layers=parsed.layers[:3])),
    ],
    "name_of_onnx": lambda: [patched(importlib.metadata, "metadata", lambda _: {"Summary": "Open Neural Exchange"})],
    "plan_survives_the_disk": lambda: [
        stage("build", with_values(plan=b"another")), stage("build", with_values(layers=())),
        of_flow(lambda: recording(plan_size_bytes=0)), of_flow(lambda: recording(recorded_plan_sha256="?")),
    ],
    "workspace_bounds_the_plan": lambda: [
        limits(**{"1": 9_764_864}), limits(**{"8": 9_764_864}), limits(**{"10": None}), limits(default=None),
        limits(default=8_000_000),
    ],
    "build_phases": lambda: [stage("build", change) for change in (
        phases(new=[Phase(name="Calibrating INT8", parent="build", start_s=0.0, seconds=1.0)]), silent,
        phases(gone="Optimizing graph"), phases(gone="Timing tactics"), memory(activation_bytes=None))],
    "pinned_copies": lambda: [pageable_as_fast(one) for one in PINNED],
    "read_after_synchronising": lambda: [
        of_transfers(stale_reads=0), of_transfers(fresh_reads=20), of_transfers(call_s=1.0), of_transfers(total_s=1e-9),
    ],
    "one_parser": lambda: [
        of_api(lambda known: known | {"CaffeParser": ()}), of_api(lambda _: {}),
    ],
    "layer_counts_today": lambda: [
        of_recorded(f"light-{network}-SM89", change) for network in ("vgg19", "inception_v1", "resnet50")
        for change in (lambda report: replace(report, steps=report.steps * 7), with_values(steps=()))
    ],
    "new_memory_is_touched_first": lambda: [patched(planning, "page_faults", lambda _work: 0)],
    "contexts_overlap": lambda: [of_load(streams, lambda known: replace(
        known, cases=tuple(replace(case, samples_s=known.cases[0].samples_s) for case in known.cases)))],
    "streams_help_small_batches": lambda: [of_load(streams, lambda known: replace(
        known, servings=tuple(replace(serving, samples_per_s=1.0) for serving in known.servings)))],
    "weights_halve": lambda: [of_recorded("digits-FP16-SM89-static", memory(weights_bytes=152_832))],
    "int8_is_read": lambda: [of_report("qdq_behind_relu", floats)],
    "histogram_and_divergence": worlds_of_histograms,
    "losses_disagree": lambda: [patched(calibrate, "mse", calibrate.entropy)],
    "few_images_are_enough": lambda: [patched(precision, "images_needed", lambda *_, **__: {
        1: (0.5,), 16: (0.5,), 64: (0.95,)})],
    "fp16_is_faster": lambda: [of_load(gemm, lambda known: replace(
        known, runs=tuple(replace(run, median_s=1e-3) for run in known.runs)))],
    "library_and_generated": lambda: [
        of_recorded(planning.NETWORK, one_left),
        *(of_recorded(planning.NETWORK, steps(**values)) for values in (
            {"type": "kgen", "tactic": "__myl_Move"}, {"tactic": "__myl_Move"}, {"type": "a library's"})),
    ],
    "candidates_are_timed": lambda: [patched(tactics, "LEVELS", 6 * tactics.LEVELS[:1])],
    "winner_depends_on_shape": lambda: [of_load(race, one_winner)],
}  # fmt: skip
"""Function of a proof -> worlds in which it must not hold, given the arguments of the claim."""


def worlds_of(call):
    """The worlds of one part of a proof; none of a function that is not known here."""
    make = WORLDS.get(call.func.__name__, lambda *_, **__: [])
    return make(*call.args, **call.keywords)
