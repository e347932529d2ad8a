"""Benchmarks: every figure is a ratio of things measured in turn, in one run, on one machine."""
