"""graph/ops: the table of operators against the schemas that come with onnx."""

import onnx

from trtlab.graph.ops import JOINING, NO_KERNEL, OPERATORS, RANDOM, Kind


def test_every_operator_is_of_the_standard_and_of_its_kind():
    assert all(map(onnx.defs.has, [*OPERATORS, *RANDOM]))
    free = {Kind.MOVE, Kind.PICK, Kind.VIEW, Kind.QUERY, Kind.DATA}
    for name, known in OPERATORS.items():
        schema = onnx.defs.get_schema(name)
        assert known.kind is not Kind.POINTWISE or schema.max_output == 1, name
        assert not known.finishes or known.kind is Kind.POINTWISE, name
        assert name not in JOINING or schema.max_input > 1, name
        assert (known.flops == 0) == (known.kind in free), name
    assert {"Reshape", "Shape", "Constant"} <= NO_KERNEL
