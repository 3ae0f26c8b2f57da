"""Compare the speed of our models with the reference implementation's, as ratios of interleaved runs.

    python benchmarks/models.py --peer-python PYTHON [--pairs 7]

PYTHON is an interpreter with braindecode. Each side lives in a process of its own with two threads; they
take turns, so a busy machine slows both, and the median of the ratios counts. Absolute times are not shown.
"""

import argparse
import importlib
import json
import statistics
import subprocess
import sys
import time

CASES = {
    "CodeBrain": ({"n_outputs": 4, "n_chans": 19, "n_times": 6000}, (4, 19, 6000)),
    "EEGDINO": ({"n_outputs": 4, "n_chans": 19, "n_times": 6000}, (4, 19, 6000)),
    "EEGPT": ({"n_outputs": 4, "n_chans": 22, "n_times": 1000}, (16, 22, 1000)),
    "FBLightConvNet": ({"n_outputs": 4, "n_chans": 22, "n_times": 1000, "sfreq": 250}, (32, 22, 1000)),
}


def work(module: str) -> None:
    """Time what standard input asks for, line by line: a model and "forward" or "step"."""
    import warnings

    import torch

    warnings.simplefilter("ignore")
    torch.set_num_threads(2)
    models = {}
    for line in sys.stdin:
        name, mode = line.split()
        if name not in models:
            arguments, shape = CASES[name]
            torch.manual_seed(0)
            models = {name: (getattr(importlib.import_module(module), name)(**arguments), torch.randn(shape))}
        model, x = models[name]
        model.train(mode == "step")
        start = time.perf_counter()
        with torch.set_grad_enabled(mode == "step"):
            output = model(x)
        if mode == "step":
            output.square().mean().backward()
            model.zero_grad()
        print(json.dumps(time.perf_counter() - start), flush=True)


def main() -> None:
    """Print a table of ratios."""
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("--peer-python", help="interpreter with braindecode")
    parser.add_argument("--pairs", type=int, default=7, help="pairs of runs after the first, which warms up")
    parser.add_argument("--work", help=argparse.SUPPRESS)
    options = parser.parse_args()
    if options.work:
        return work(options.work)
    if not options.peer_python:
        parser.error("braindecode is needed for a comparison: pass --peer-python PYTHON.")
    print("Time of braindecode divided by ours: median (smallest to largest)\n")
    print("| model | input | forward | training step |\n|---|---|---|---|")
    for name, (_, shape) in CASES.items():
        cells = compare(name, options.peer_python, options.pairs)
        print(f"| {name} | {shape} | {cells[0]} | {cells[1]} |", flush=True)


def compare(name: str, peer_python: str, n_pairs: int) -> list[str]:
    """Time one model in two fresh processes: memory that another model left behind would speed one up."""
    sides = [
        subprocess.Popen(
            [python, __file__, "--work", module], stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True
        )
        for python, module in ((peer_python, "braindecode.models"), (sys.executable, "eeglab_models"))
    ]

    def ask(side: subprocess.Popen, mode: str) -> float:
        print(name, mode, file=side.stdin, flush=True)
        return json.loads(side.stdout.readline())

    cells = []
    for mode in ("forward", "step"):
        ratios = [ask(sides[0], mode) / ask(sides[1], mode) for _ in range(n_pairs + 1)][1:]
        cells.append(f"{statistics.median(ratios):.2f} ({min(ratios):.2f} to {max(ratios):.2f})")
    for side in sides:
        side.stdin.close()
        side.wait()
    return cells


if __name__ == "__main__":
    main()
