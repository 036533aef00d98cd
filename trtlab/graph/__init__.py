"""trtlab.graph: what a model says, and how it is rewritten (teaching models, oracle, rules, cost).

May import: the standard library, numpy, onnx, onnx_ir, and trtlab.numeric. The rewriter loads when first used.
"""

from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from trtlab.graph.rewrite import optimize

__all__ = ["optimize"]


def __getattr__(name: str) -> Any:
    if name in __all__:
        from trtlab.graph import rewrite

        return getattr(rewrite, name)
    raise AttributeError(f"trtlab.graph has no name {name!r}; it has {', '.join(__all__)}")
