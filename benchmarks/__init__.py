"""NumPy, Cython and, where it is installed, PyTorch side by side: `python -m benchmarks`."""
