"""Benchmarks: ratios taken side by side in one run, in turns; `scripts/bench` is their front."""
