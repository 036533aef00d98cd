"""engine/codegen: kernels that are written by a program: text in, function out. They know nothing of plans or engines.

`pointwise` fuses any graph of elementwise operators, on a CPU and on a GPU, `product` multiplies matrices and finishes
them, `images` convolves and takes maxima, `rows` normalises. On a CPU numba compiles, on a GPU Triton. Each is checked
against torch.
"""
