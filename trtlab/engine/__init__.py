"""engine: what runs. NVIDIA's compilers, ONNX Runtime, the glass box, measuring, recordings.

May use numpy, onnx, torch, onnxruntime, tensorrt or tensorrt_rtx (all loaded only when called), and the rooms
numeric, graph and plan. Draws nothing: that is teach.
"""
