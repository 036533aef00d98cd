"""600 damaged models on the real tensorrt_rtx: no hang, no dead parent, every failure a typed error.

Seeded, so that a failure is found again. Bytes are flipped, cut, doubled; fields of the parsed model get values that
nobody expects. `timeout_s` turns a hang into a failure of the test.
"""

from collections import Counter
from concurrent.futures import ThreadPoolExecutor

import numpy as np
import onnx
import pytest
from google.protobuf.descriptor import FieldDescriptor

from trtlab.engine.nvidia.errors import BuildTimeout, CompilerError

from . import onnx_models as models
from .rtx import build, merged, needs_rtx

pytestmark = needs_rtx

MUTANTS = 300
TIMEOUT_S = 20
BASES = [
    models.conv_bn_relu(),
    models.parallel_matmuls(),
    models.pointwise(),
    models.attention(),
    models.if_else(),
    models.loop(),
    models.qdq_conv(),
    models.external_weights()[0],
    models.concat_of_inputs(),
    models.dropout_in_training_mode(),
]


def mutated_bytes(data, random):
    """`data` with one to four wounds, half of them near the end, where the graph's own fields lie."""
    data = bytearray(data)
    for _ in range(random.integers(1, 5)):
        start = max(0, len(data) - 300) if random.random() < 0.5 else 0
        at = int(random.integers(start, len(data)))
        wound = random.integers(5)
        if wound < 2:
            data[at] ^= int(random.integers(1, 256))
        elif wound == 2:
            del data[at : at + int(random.integers(1, 20))]
        elif wound == 3:
            data[at:at] = data[max(0, at - 16) : at]
        elif random.random() < 0.2:
            del data[at + 1 :]
    return bytes(data)


def fields_of(message):
    """(message, field) for every field that is set, at any depth."""
    for field, value in message.ListFields():
        yield message, field
        if field.type == FieldDescriptor.TYPE_MESSAGE:
            for child in value if field.is_repeated else [value]:
                yield from fields_of(child)


INTEGERS = (0, 1, 2, 3, 7, 10, 11, 17, 100, -1, -2, 2**31 - 1, -(2**31))
FLOATS = (0.0, -1.0, 1e38, float("nan"), float("inf"))
STRINGS = ("", "x", "y", "a", "w", "Relu", "Add", "MatMul", "com.example", "\n", "n" * 300, "卷积")


def odd_value(old, random):
    """A value of the type of `old` that nobody expects there."""
    if isinstance(old, str):
        return STRINGS[random.integers(len(STRINGS))]
    if isinstance(old, bytes):
        return old[: int(random.integers(len(old) + 1))] if random.random() < 0.5 else old + b"\xff"
    choices = FLOATS if isinstance(old, float) else INTEGERS
    return choices[random.integers(len(choices))]


def mutate_field(message, field, random):
    """Change, double or remove one field. ValueError when the type forbids the value; nothing happens then."""
    wound, value = random.random(), getattr(message, field.name)
    if wound < 0.15:
        message.ClearField(field.name)
    elif field.is_repeated and wound < 0.4:
        del value[random.integers(len(value))]
    elif field.is_repeated and wound < 0.6:
        value.append(value[random.integers(len(value))])
    elif field.type == FieldDescriptor.TYPE_MESSAGE:
        return
    elif field.is_repeated:
        value[random.integers(len(value))] = odd_value(value[0], random)
    else:
        setattr(message, field.name, odd_value(value, random))


def mutated_fields(data, random):
    """The model with one to three fields changed."""
    model = onnx.load_model_from_string(data)
    for _ in range(random.integers(1, 4)):
        fields = list(fields_of(model))
        message, field = fields[random.integers(len(fields))]
        try:
            mutate_field(message, field, random)
        except ValueError:
            continue
    return model.SerializeToString()


def outcome(data):
    """`built`, or the name of the typed error; anything else that is raised fails the test."""
    try:
        report = build(data, timeout_s=TIMEOUT_S)
    except BuildTimeout as error:
        pytest.fail(f"a hang: {error}; model {data[:2000]!r}")
    except CompilerError as error:
        if type(error) is CompilerError or not error.what:
            pytest.fail(f"an error that says nothing: {error!r}")
        return type(error).__name__
    assert report.steps or report.unread_lines
    return "built"


@pytest.mark.parametrize("mutate", [mutated_bytes, mutated_fields])
def test_damaged_models(mutate):
    random = np.random.default_rng(2026)
    bases = [model.SerializeToString() for model in BASES]
    mutants = [mutate(bases[i % len(bases)], random) for i in range(MUTANTS)]
    with ThreadPoolExecutor(2) as threads:
        outcomes = Counter(threads.map(outcome, mutants))
    assert outcomes["built"] >= MUTANTS // 20
    assert outcomes["ModelError"] >= MUTANTS // 20
    assert outcomes["ParseError"] + outcomes["BuildError"] + outcomes["ProfileError"] > 0
    assert merged(build(models.pointwise())) == [("mul", "add", "relu")]
