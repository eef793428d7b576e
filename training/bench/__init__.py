"""Benchmarks of the whole product: what is right, how long it takes, how much memory, what the graph costs."""
