"""One side of the comparison: does what standard input asks for, and says how long it took.

Runs in the reference's interpreter and in ours, so it imports nothing of either before it is asked. A request
is a line of JSON with a task and its settings; the answer is a line of JSON.
"""

import contextlib
import importlib
import json
import resource
import sys
import time
import warnings
from typing import Any

import torch

MODELS: dict[str, tuple[Any, torch.Tensor]] = {}


def model_and_input(module: str, case: dict[str, Any]) -> tuple[Any, torch.Tensor]:
    """Build the model of a case once; only the latest is kept, so that none profits from another's memory."""
    key = json.dumps([case["model"], case["arguments"], case["shape"], case.get("compile")])
    if key not in MODELS:
        MODELS.clear()
        torch.manual_seed(0)
        model = getattr(importlib.import_module(module), case["model"])(**case["arguments"])
        model = torch.compile(model) if case.get("compile") else model
        MODELS[key] = model, torch.randn(case["shape"])
    return MODELS[key]


def run(module: str, case: dict[str, Any]) -> float:
    """Time one forward pass or one training step, in float32 or under bfloat16 autocast."""
    model, x = model_and_input(module, case)
    step = case["mode"] == "step"
    model.train(step)
    start = time.perf_counter()
    with (
        torch.set_grad_enabled(step),
        torch.autocast("cpu", dtype=torch.bfloat16, enabled=case.get("precision") == "bfloat16"),
    ):
        output = model(x)
    if step:
        output.float().square().mean().backward()
        model.zero_grad()
    return time.perf_counter() - start


def memory(module: str, case: dict[str, Any]) -> float:
    """Measure by how much one run raises the peak of this process, in bytes; ask a fresh process only."""
    model_and_input(module, case)
    before = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss
    run(module, case)
    return 1024 * (resource.getrusage(resource.RUSAGE_SELF).ru_maxrss - before)


def construction(module: str, case: dict[str, Any]) -> float:
    """Time the constructor."""
    cls = getattr(importlib.import_module(module), case["model"])
    start = time.perf_counter()
    cls(**case["arguments"])
    return time.perf_counter() - start


def loading(module: str, case: dict[str, Any]) -> float:
    """Time loading from a folder."""
    cls = getattr(importlib.import_module(module), case["model"])
    start = time.perf_counter()
    cls.from_pretrained(case["folder"])
    return time.perf_counter() - start


def error(module: str, case: dict[str, Any]) -> float:
    """Compare the features under bfloat16 autocast with those in float32: relative root mean square."""
    model, x = model_and_input(module, case)
    with torch.inference_mode():
        exact = model.eval()(x, return_features=True)["features"]
        with torch.autocast("cpu", dtype=torch.bfloat16):
            rough = model(x, return_features=True)["features"].float()
    return float((rough - exact).pow(2).mean().sqrt() / exact.std())


def throughput(module: str, case: dict[str, Any]) -> float:
    """Count windows per second of `prepare` or of `extract_features`; ours only."""
    import mne
    import numpy as np

    from eeglab_models import prepare
    from eeglab_models.features import extract_features
    from eeglab_models.signals.windows import Windows

    mne.set_log_level("error")
    model, x = model_and_input(module, case)
    n_windows, n_chans, _ = x.shape
    n_times = round(160 * x.shape[2] / case["sfreq"])
    data = 20 * np.random.default_rng(0).normal(size=(n_windows, n_chans, n_times))
    names = [channel["ch_name"] for channel in case["arguments"]["chs_info"]]
    windows = Windows(data.astype(np.float32), mne.create_info(names, 160.0, "eeg"))
    start = time.perf_counter()
    prepared = prepare(windows, model)
    if case["mode"] == "features":
        start = time.perf_counter()
        extract_features(model, prepared)
    return n_windows / (time.perf_counter() - start)


TASKS = {
    "run": run,
    "memory": memory,
    "construction": construction,
    "loading": loading,
    "error": error,
    "throughput": throughput,
}


def main() -> None:
    """Answer request after request."""
    warnings.simplefilter("ignore")
    torch.set_num_threads(2)
    for line in sys.stdin:
        case = json.loads(line)
        # What libraries print must not mix with the answers.
        with contextlib.redirect_stdout(sys.stderr):
            answer = TASKS[case["task"]](sys.argv[1], case)
        print(json.dumps(answer), flush=True)


if __name__ == "__main__":
    main()
