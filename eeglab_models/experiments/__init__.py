"""Running experiments: grids, sweeps and their results, and what is needed offline."""
