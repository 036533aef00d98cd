"""graph/rules: one rewrite rule a file. `RULES` has them by name, in the order in which they help each other.

First what shrinks the graph, then what changes weights, then what makes kernels, then where results lie in memory.
"""

from trtlab.graph.rule import Rule
from trtlab.graph.rules import (
    common_subexpressions,
    concat_elimination,
    constant_folding,
    conv_bn_folding,
    dead_layers,
    horizontal_fusion,
    pointwise_fusion,
    transposes,
    vertical_fusion,
)

RULES: dict[str, Rule] = {
    module.RULE.name: module.RULE
    for module in (
        dead_layers,
        constant_folding,
        common_subexpressions,
        transposes,
        conv_bn_folding,
        vertical_fusion,
        horizontal_fusion,
        pointwise_fusion,
        concat_elimination,
    )
}
