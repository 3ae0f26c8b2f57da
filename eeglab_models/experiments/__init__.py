"""Running experiments: grids, sweeps on dask, and their results."""
