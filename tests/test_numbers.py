"""One quantity, one number: what notebooks, claims, quizzes and questions say of it, in both languages, is the same.

Each quantity has its value from a recording or a function, and patterns that find it in words; a number agrees if it is
the value rounded to as many digits as are written.
"""

import functools
import json
import re
from collections.abc import Iterator
from decimal import Decimal
from pathlib import Path

import numpy as np
import pytest
import yaml

import trtlab
from trtlab.engine import recordings
from trtlab.engine.nvidia.report import BuildReport
from trtlab.lab import fusion
from trtlab.lab.ways import Way
from trtlab.numeric import FORMATS
from trtlab.numeric.quantize import sqnr_db
from trtlab.study.truths import formats as truths

WORDS = Path(trtlab.__file__).parent / "study" / "words"
NOTEBOOKS = Path(__file__).parents[1] / "notebooks"


def leaves(tree, path: str) -> Iterator[tuple[str, str]]:
    """(where, text) of all texts, but for what is quoted as said wrongly."""
    if isinstance(tree, str):
        yield path, " ".join(tree.split())
    for key, value in tree.items() if isinstance(tree, dict) else enumerate(tree) if isinstance(tree, list) else ():
        if key not in {"said", "slips", "options"}:
            yield from leaves(value, f"{path}/{key}")


@functools.cache
def texts() -> list[tuple[str, str]]:
    """All words of the workbook with their place: YAML files, cells of notebooks and what they show."""
    found = []
    for path in sorted(WORDS.glob("*/*.yaml")):
        found += leaves(yaml.safe_load(path.read_text("utf-8")), path.stem)
    for path in sorted(NOTEBOOKS.glob("*.ipynb")):
        for number, cell in enumerate(json.loads(path.read_text("utf-8"))["cells"]):
            shown = [o.get("data", {}).get("text/plain", o.get("text", "")) for o in cell.get("outputs", ())]
            for text in (*shown, *([cell["source"]] if cell["cell_type"] == "markdown" else ())):
                found.append((f"{path.stem} [{number}]", " ".join("".join(text).split())))
    return found


def kernels(name: str) -> int:
    """How many a recorded build launches."""
    return len(recordings.load(BuildReport, name).kernels)


def chains(wanted: int, pick) -> int:
    """The longest or shortest recorded chain with so many kernels."""
    return pick(n for n in (16, 128, 448, 512) if kernels(f"fusion-chain_{n}-SM89") == wanted)


def ratio(device: str, elements: int) -> float:
    """How many times as fast one kernel is as three calls of torch that reuse memory."""
    sweep = fusion.load(device)
    return sweep.find(Way.TORCH_OUT, elements).seconds / sweep.find(Way.GENERATED, elements).seconds


def call_us() -> float:
    """One of three small calls of torch on an H100, as the finding about launches has it."""
    (found,) = (one for one in fusion.findings(fusion.load("h100")) if one.name == "launches")
    return float(found.facts["call_us"])


def int8_gain() -> float:
    """Decibels by which INT8 is better than E4M3 on 16,384 normal values."""
    values = np.random.default_rng(0).normal(size=16_384)
    kept = [sqnr_db(values, FORMATS[name].quantize(values).values) for name in ("INT8", "FP8_E4M3")]
    return kept[0] - kept[1]


def lost(name: str) -> float:
    """Decibels that an outlier 28 times the largest value costs."""
    facts = truths.outlier(name, {"": 0}).facts
    return float(facts["alone"] - facts["beside"])


def light(name: str) -> tuple[str, ...]:
    """In a table with all counts, and in one that goes on with bytes."""
    return rf"\b{name} (?:\d+ ){{4}}(\d+)\b", rf"\b{name} (\d+) \d+,\d{{3}},"


# name: (value, how many places at least, patterns with a group for the number)
QUANTITIES = {
    **{
        f"kernels of {name}": (lambda name=name: kernels(f"light-{name}-SM89"), places, light(name))
        for name, places in (("vgg19", 1), ("inception_v1", 2), ("resnet50", 2))
    },
    "kernels of ResNet-18": (
        lambda: kernels("resnet18-FP32-SM89-static"), 3, (r"(\d+) kernels in FP32 and", r"FP32 是 (\d+) 个核函数"),
    ),
    "kernels of ResNet-18 in INT8": (
        lambda: kernels("resnet18-INT8-SM89-static"), 3, (r"in FP32 and (\d+) in INT8", r"INT8 是 (\d+) 个"),
    ),
    "nodes of the digits network": (
        lambda: recordings.load(BuildReport, "digits-FP32-SM89-static").onnx_nodes, 4,
        (r"kept: (\d+) nodes", r"From (\d+) nodes: how many", r"\b(\d+) nodes became 19", r"(\d+) ONNX nodes and 24",
         r"(\d+) 个节点变成 19"),
    ),
    "longest chain in one kernel": (
        lambda: chains(1, max), 4,
        (r"16, 128 and (\d+) elementwise", r"such chains (\d+) operators are one", r"128 个、(\d+) 个逐元素",
         r"(\d+) 个这样的算子还是一个"),
    ),
    "shortest chain in two kernels": (
        lambda: chains(2, min), 6,
        (r"length; (\d+) became two", r"kernel in this builder, (\d+) are two", r"(\d+) 个就?成了两个", r"(\d+) in two",
         r"算子一个核函数，(\d+) 个两个"),
    ),
    "FP16's largest": (
        lambda: FORMATS["FP16"].max, 8,
        (r"FP16[^.。]{0,30}?\b(6[3-6],?\d{3})\b", r"[Ll]argest (?:FP16 )?value is (6\d,?\d{3})"),
    ),
    "E4M3's largest": (
        lambda: FORMATS["FP8_E4M3"].max, 4, (r"E4M3 (?:ends at|up to|最大) (\d{3})\b(?!, as every)",),
    ),
    "E5M2's largest": (lambda: FORMATS["FP8_E5M2"].max, 3, (r"E5M2 ?(?:ends at|up to|最大) ?(\d+,?\d+)",)),
    "steps of BF16 against FP16": (
        lambda: FORMATS["BF16"].epsilon / FORMATS["FP16"].epsilon, 6,
        (r"steps are (\d+) times as wide", r"步长是 FP16 的 (\d+) 倍", r"间隔是 (\d+) 倍",
         r"FP16, its errors are (\d+)"),
    ),
    "INT8 against E4M3, in dB": (
        int8_gain, 3, (r"about ([\d.]+) decibels better on 16,384", r"大约好 ([\d.]+) 分贝"),
    ),
    "what an outlier costs INT8, in dB": (
        lambda: lost("INT8"), 3,
        (r"costs INT8 some (\d+) decibels", r"INT8 就损失约 (\d+) 分贝", r"✓ about (\d+) dB"),
    ),
    "an outlier's size": (
        lambda: 100 / np.abs(np.random.default_rng(0).normal(size=4096)[1:]).max(), 5,
        (r"a factor of (\d+), and so does every", r"outlier (\d+) times that", r"大 (\d+) 倍，每个", r"log10\((\d+)\)",
         r"原来最大值的 (\d+) 倍"),
    ),
    "double quantisation": (
        lambda: 32 / 64 - (8 / 64 + 32 / (64 * 256)), 5, (r"(0\.37\d+) bits", r"每个权重省 (0\.37\d+) 位"),
    ),
    "a small call of torch on an H100, in us": (
        call_us, 4,
        (r"about ([\d.]+) microseconds a call", r"每次调用约 ([\d.]+) 微秒", r"28\.2 µs, ([\d.]+) µs a call",
         r"28\.2 µs，中间大小时每次调用 ([\d.]+) µs"),
    ),
    "one kernel against three, CPU, 2^26": (
        lambda: ratio("cpu", 2**26), 1, (r"near two: ([\d.]+) at 2²⁶", r"([\d.]+)x at 2\^26"),
    ),
    "one kernel against three, H100, 2^28": (
        lambda: ratio("h100", 2**28), 1, (r"([\d.]+) times as fast: 1,372 µs", r"速度是 ([\d.]+) 倍：2,824 µs"),
    ),
    "types that TensorRT 11.1 stores": (
        lambda: 12, 3, (r"TensorRT 11\.1 stores (\d+) types", r"TensorRT 11\.1 能存 (\d+) 种类型"),
    ),
}  # fmt: skip


def agrees(written: str, value: float) -> bool:
    """Whether it is the value, rounded to the digits that are written."""
    number = Decimal(written.rstrip(".").replace(",", ""))
    unit = Decimal(1).scaleb(int(number.as_tuple().exponent))
    return abs(number - Decimal(float(value))) <= unit / 2


def given(patterns, words) -> list[tuple[str, str]]:
    """(place, number as it is written), wherever a pattern matches."""
    return [(where, match[1]) for where, text in words for pattern in patterns for match in re.finditer(pattern, text)]


@pytest.mark.parametrize("name", QUANTITIES)
def test_a_quantity_has_one_number_wherever_it_is_given(name):
    value, places, patterns = QUANTITIES[name]
    found, known = given(patterns, texts()), value()
    assert [(where, written) for where, written in found if not agrees(written, known)] == [], f"{name} is {known}"
    assert len({where for where, _ in found}) >= places, f"{name}: {found}"


def test_another_number_is_seen():
    """The faults that this is about: weights that were filled in counted as kernels, a size rounded to another one."""
    value, _, patterns = QUANTITIES["kernels of inception_v1"]
    ((where, written),) = given(patterns, [("a card", "inception_v1 144 144 214 116 98 resnet50")])
    assert (where, written, agrees(written, value())) == ("a card", "98", False)
    close = {"9": True, "9.4": True, "9.3": False, "7": False}
    assert {written: agrees(written, 9.37) for written in close} == close
    assert [agrees(written, 65504) for written in ("65,504", "65504", "65,500")] == [True, True, False]
