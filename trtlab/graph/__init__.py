"""trtlab.graph: what a model says, and how it is rewritten (teaching models, oracle, rules, cost).

May import: the standard library, numpy, onnx, onnx_ir, and trtlab.numeric.
"""
