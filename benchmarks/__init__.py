"""How fast it is, beside others and beside hand-written code, in one run: ``python -m benchmarks --help``."""
