"""CISTA on a CPU: oneDNN convolutions, and own C++ kernels, compiled at the first start, for everything between."""
