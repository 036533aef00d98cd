"""teach/graph: graphs as drawings: picture and groups (values), layout and draw, view (the widget), report and change.

In: ONNX models, build reports, steps of a rewriting. Out: SVG, and `GraphView`.
"""
