"""One module a target: SEEDS are inputs to begin with, MODULES what is aimed at, and `check` one execution."""
