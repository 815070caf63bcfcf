"""CISTA on a CPU by kernels of our own, compiled on the spot, around oneDNN's convolutions."""
