"""lab: what lessons measure, live or recorded, one file for each question.

May use numpy, onnx and the rooms below; torch, onnxruntime and compilers inside functions only. Draws nothing: that is
teach.
"""
