"""Benchmarks: the bridge against its bounds, as ratios from one run. `make bench`."""
