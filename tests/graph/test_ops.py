"""graph/ops: the table of operators against the schemas that come with onnx."""

import onnx
import pytest

from trtlab.graph.ops import JOINING, NO_KERNEL, OPERATORS, RANDOM, Kind


@pytest.mark.parametrize("name", [*OPERATORS, *sorted(RANDOM)])
def test_every_name_is_an_operator_of_the_standard(name):
    assert onnx.defs.has(name)


def test_pointwise_operators_write_one_tensor_and_finishing_ones_are_pointwise():
    for name, known in OPERATORS.items():
        schema = onnx.defs.get_schema(name)
        assert known.kind is not Kind.POINTWISE or schema.max_output == 1, name
        assert not known.finishes or known.kind is Kind.POINTWISE, name
        if name in JOINING:
            assert schema.max_input > 1, name


def test_what_costs_nothing_moves_or_runs_not_at_all():
    free = {Kind.MOVE, Kind.PICK, Kind.VIEW, Kind.QUERY, Kind.DATA}
    assert all((known.flops == 0) == (known.kind in free) for known in OPERATORS.values())
    assert {"Reshape", "Shape", "Constant"} <= NO_KERNEL
