"""graph/rules: rewrite rules by subject. `RULES` has them by name, in the order in which they help each other.

First what shrinks the graph, then what changes weights, then what makes kernels, then where results lie in memory.
"""

from trtlab.graph.rule import Rule
from trtlab.graph.rules import attention, constants, fusion, layers

RULES: dict[str, Rule] = {
    rule.name: rule
    for rule in (
        layers.DeadLayers(),
        constants.ConstantFolding(),
        layers.CommonSubexpressions(),
        layers.Transposes(),
        constants.ConvBnFolding(),
        attention.AttentionFusion(),
        fusion.VerticalFusion(),
        fusion.HorizontalFusion(),
        fusion.PointwiseFusion(),
        fusion.ConcatElimination(),
    )
}
