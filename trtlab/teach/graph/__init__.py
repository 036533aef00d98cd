"""teach/graph: graphs as drawings: picture (values), arrange and draw, view (the widget), change (a step).

In: ONNX models, build reports, steps of a rewriting. Out: SVG, and `GraphView`.
"""
