"""Runs a grid in a process of its own, which tests may kill: FOLDER with grid.yaml, number of workers.

It prints what came of the sweep as JSON.
"""

import json
import sys
from dataclasses import replace
from pathlib import Path

from eeglab_models.experiments.grid import read_grid
from eeglab_models.experiments.sweep import sweep

if __name__ == "__main__":
    folder = Path(sys.argv[1])
    grid = read_grid(folder / "grid.yaml")
    # Somebody may be editing the package while its tests run.
    grid = replace(grid, runs=tuple(replace(run, version="test") for run in grid.runs))
    progress = sweep(grid, folder / "out", workers=int(sys.argv[2]), warm=False)
    counts = ("n_runs", "resumed", "done", "failed", "elsewhere", "retried", "remaining")
    print(json.dumps({name: getattr(progress, name) for name in counts}))
