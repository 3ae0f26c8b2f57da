"""How far each model is from the time of its matrix products and convolutions alone.

    python benchmarks/floor.py [--models NAME ...] [--rounds 7] [--output benchmarks/results]

One run of a model is watched, and every matrix product and convolution that it calls (by way of a spectrum
too) is called again by itself, on numbers of the same shapes, types and layout: nothing that computes the
same products can be faster. Both take turns in one process with two threads; the median of the ratios counts,
1 is the floor. Inputs of the replay are shared, so they stay in the processor's cache more often than a
model's do: the floor is a little low.
"""

import argparse
import json
import os
import statistics
import subprocess
import sys
import time
import warnings
from pathlib import Path
from typing import Any

import pandas as pd
import torch
from torch.utils._python_dispatch import TorchDispatchMode
from torch.utils._pytree import tree_map_only

from eeglab_models.models import EEGModel, known_models

PRODUCTS = {"mm", "addmm", "bmm", "baddbmm", "mv", "addmv", "linear", "convolution", "convolution_backward"}
# Long filters are convolutions too, by way of a spectrum; attention is two products in one call.
PRODUCTS |= {"_fft_r2c", "_fft_c2r", "_fft_c2c"}
ATTENTION = "_scaled_dot_product"
# Windows, channels (None: those of the contract, 22 at most) and seconds.
SHAPES = {
    "one window of 4 s": (1, None, 4),
    "32 trials of 4 s, 22 channels": (32, 22, 4),
    "8 windows of 10 s": (8, None, 10),
    "8 trials of 4 s, 62 channels": (8, 62, 4),
    "4 windows of 30 s": (4, None, 30),
}
MODES = {"forward": "forward pass", "step": "training step"}


class Products(TorchDispatchMode):
    """Keeps every matrix product and convolution that is called, with stand-ins for its inputs."""

    def __init__(self) -> None:
        super().__init__()
        self.calls: list[tuple[Any, tuple, dict]] = []
        self.inputs: dict[tuple, torch.Tensor] = {}

    def stand_in(self, tensor: torch.Tensor) -> torch.Tensor:
        """Numbers of the same shape, type and layout, shared by all calls that need the like."""
        key = (tensor.shape, tensor.stride(), tensor.dtype)
        if key not in self.inputs:
            like = torch.empty_strided(*key[:2], dtype=tensor.dtype)
            self.inputs[key] = like.normal_() if like.dtype.is_floating_point or like.is_complex() else like
        return self.inputs[key]

    def __torch_dispatch__(self, func: Any, types: Any, args: tuple = (), kwargs: dict | None = None) -> Any:
        """Keep a product, and call whatever it is."""
        name = func.overloadpacket.__name__
        if name in PRODUCTS or name.startswith(ATTENTION):
            kept = tree_map_only(torch.Tensor, self.stand_in, (args, kwargs or {}))
            self.calls.append((func, *kept))
        return func(*args, **(kwargs or {}))

    def replay(self) -> float:
        """Call all of them again; seconds."""
        start = time.perf_counter()
        with torch.no_grad():
            for func, args, kwargs in self.calls:
                func(*args, **kwargs)
        return time.perf_counter() - start


def run(model: torch.nn.Module, x: torch.Tensor, mode: str) -> float:
    """Run a forward pass or a training step; seconds."""
    start = time.perf_counter()
    with torch.set_grad_enabled(mode == "step"):
        output = model(x)
    if mode == "step":
        output.square().mean().backward()
        model.zero_grad()
    return time.perf_counter() - start


def build(cls: type[EEGModel], n_chans: int | None, seconds: int) -> torch.nn.Module:
    """Build a model for windows of some seconds; it is wide enough for all channels that it knows."""
    contract = cls.contract
    known = contract.ch_names or range(22)
    n_chans = n_chans or min(len(known), 22)
    arguments = {"n_outputs": 4, "n_times": round(seconds * contract.sfreq), "sfreq": contract.sfreq}
    torch.manual_seed(0)
    return cls(n_chans=n_chans, **arguments)


def measure(name: str, shape: str, mode: str, n_rounds: int) -> dict[str, Any]:
    """Time a model and its products in turn."""
    n_windows, n_chans, seconds = SHAPES[shape]
    model = build(known_models()[name], n_chans, seconds)
    model.train(mode == "step")
    x = torch.randn(n_windows, model.n_chans, model.n_times)
    with Products() as products:
        run(model, x, mode)
    pairs = [(run(model, x, mode), products.replay()) for _ in range(n_rounds + 1)][1:]
    ratios = [ours / floor for ours, floor in pairs]
    return {
        "model": name,
        "measure": MODES[mode],
        "input": shape,
        "median": statistics.median(ratios),
        "low": min(ratios),
        "high": max(ratios),
        "products": len(products.calls),
    }


def write(rows: pd.DataFrame, folder: Path) -> None:
    """Write the table and the figure."""
    import matplotlib.pyplot as plt
    import seaborn as sns

    folder.mkdir(parents=True, exist_ok=True)
    spread = [f"{row.median:.2f} ({row.low:.2f} to {row.high:.2f})" for row in rows.itertuples()]
    table = rows.assign(ratio=spread).pivot_table("ratio", ["model", "input"], "measure", "first", sort=False)
    lines = ["| model | input | " + " | ".join(table.columns) + " |", "|---|---|" + "---|" * table.shape[1]]
    cells = zip(table.index, table.to_numpy(), strict=True)
    lines += [f"| {' | '.join([*names, *ratios])} |" for names, ratios in cells]
    (folder / "floor.md").write_text("\n".join(lines) + "\n", encoding="utf-8")
    figure, axes = plt.subplots(1, len(MODES), figsize=(11, 3.2), layout="constrained", sharey=True)
    for ax, measured in zip(axes, MODES.values(), strict=True):
        cells = rows[rows["measure"] == measured].pivot_table("median", "input", "model", sort=False)
        sns.heatmap(
            cells, annot=True, fmt=".2f", vmin=1, vmax=4, cmap="cividis_r", ax=ax, cbar=ax is axes[-1]
        )
        ax.set(title=f"{measured}: time over that of its products", xlabel="", ylabel="")
        ax.tick_params(axis="y", rotation=0)
    figure.savefig(folder / "floor.png", dpi=150)


def main() -> None:
    """Measure every model in a process of its own, and write the table and the figure."""
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("--models", nargs="*", default=list(known_models()))
    parser.add_argument("--rounds", type=int, default=7)
    parser.add_argument("--output", type=Path, default=Path("benchmarks/results"))
    parser.add_argument("--one", help=argparse.SUPPRESS)
    options = parser.parse_args()
    warnings.simplefilter("ignore")
    if options.one:
        torch.set_num_threads(2)
        rows = [measure(options.one, shape, mode, options.rounds) for shape in SHAPES for mode in MODES]
        print(json.dumps(rows))
        return
    found = []
    for name in options.models:
        command = [sys.executable, __file__, "--one", name, "--rounds", str(options.rounds)]
        done = subprocess.run(command, stdout=subprocess.PIPE, check=True, text=True, env=os.environ)
        found.append(pd.DataFrame(json.loads(done.stdout)))
        print(found[-1].to_string(float_format="{:.2f}".format), flush=True)
    write(pd.concat(found, ignore_index=True), options.output)


if __name__ == "__main__":
    main()
