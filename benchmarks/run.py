"""Compare our speed and memory with the reference implementation's, as ratios of interleaved runs.

    python benchmarks/run.py --peer-python PYTHON [--quick] [--output FOLDER]

PYTHON is an interpreter with braindecode. Each side lives in a process of its own with two threads; they
take turns, so a busy machine slows both, and the median of the ratios counts: above 1, ours is faster or
smaller. Memory is measured in fresh processes. Forward pass and training step at the main shapes are measured
in seven pairs, the rest in three. `--quick` measures the former only, in one pair, in about two minutes.
"""

import argparse
import json
import statistics
import subprocess
import sys
import tempfile
from collections.abc import Callable, Iterable, Iterator
from pathlib import Path
from typing import Any

from eeglab_models.models import EEGPT, EEGModel, known_models

WORKER = Path(__file__).with_name("worker.py")
TEMPLE = "Fp1 Fp2 F3 F4 C3 C4 P3 P4 O1 O2 F7 F8 T7 T8 P7 P8 Fz Cz Pz".split()
MODELS = known_models()
MODES = {"forward": "forward pass", "step": "training step"}
Row = dict[str, Any]


def main_case(model: type[EEGModel]) -> dict[str, Any]:
    """Windows of a model's contract, on no more than 22 channels, and more of them where they are short."""
    contract = model.contract
    n_chans = min(len(contract.ch_names or range(22)), 22)
    n_times = round(contract.window * contract.sfreq)
    arguments = {"n_outputs": 4, "n_chans": n_chans, "n_times": n_times, "sfreq": contract.sfreq}
    return {"arguments": arguments, "shape": (4 if contract.window > 10 else 32, n_chans, n_times)}


CASES = {name: main_case(model) for name, model in MODELS.items()}


class Side:
    """One process that answers requests."""

    def __init__(self, python: str, module: str) -> None:
        command = [python, str(WORKER), module]
        self.process = subprocess.Popen(
            command, stdin=subprocess.PIPE, stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True
        )

    def ask(self, case: dict[str, Any]) -> float:
        """Send one request and wait for its answer."""
        print(json.dumps(case), file=self.process.stdin, flush=True)
        line = self.process.stdout.readline()
        if not line:
            raise RuntimeError(f"The worker stopped: {self.process.stderr.read()[-500:]}")
        return json.loads(line)

    def close(self) -> None:
        """End the process."""
        self.process.stdin.close()
        self.process.wait()


class Benchmark:
    """Both sides of the comparison."""

    def __init__(self, peer_python: str, n_pairs: int) -> None:
        self.pythons = {"braindecode.models": peer_python, "eeglab_models": sys.executable}
        self.n_pairs = n_pairs

    def sides(self) -> list[Side]:
        """Start a fresh process for each side: the reference's, then ours."""
        return [Side(python, module) for module, python in self.pythons.items()]

    def ours(self, case: dict[str, Any]) -> float:
        """Ask a fresh process of ours, once."""
        side = Side(sys.executable, "eeglab_models")
        try:
            return side.ask(case)
        finally:
            side.close()

    def compare(self, case: dict[str, Any]) -> list[float]:
        """Ratios of three pairs of runs, the reference's first, after one pair that warms up."""
        return self.compare_variants(case, [{}], n_pairs=3)[0]

    def compare_variants(
        self, case: dict[str, Any], variants: list[dict[str, Any]], n_pairs: int
    ) -> list[list[float]]:
        """Ratios for each variant of ours: all of them run after the reference's run, time and again."""
        theirs, ours = self.sides()
        rounds = []
        for _ in range(n_pairs + 1):
            seconds = theirs.ask(case)
            rounds.append([seconds / ours.ask(case | variant) for variant in variants])
        theirs.close()
        ours.close()
        return [list(ratios) for ratios in zip(*rounds[1:], strict=True)]

    def compare_memory(self, case: dict[str, Any]) -> list[float]:
        """Ratios of the memory that one run takes, every time in fresh processes."""
        return [a / b for a, b in (self.fresh(case) for _ in range(3))]

    def fresh(self, case: dict[str, Any]) -> list[float]:
        """Ask fresh processes of both sides, once."""
        sides = self.sides()
        answers = []
        for side in sides:
            answers.append(side.ask(case))
            side.close()
        return answers

    def compare_imports(self) -> list[float]:
        """Ratios of the time that importing takes."""
        code = "import time; start = time.perf_counter(); import {}; print(time.perf_counter() - start)"

        def seconds(module: str) -> float:
            done = subprocess.run(
                [self.pythons[module], "-W", "ignore", "-c", code.format(module)],
                capture_output=True,
                text=True,
                check=True,
            )
            return float(done.stdout.split()[-1])

        pairs = [tuple(seconds(module) for module in self.pythons) for _ in range(self.n_pairs + 1)]
        return [a / b for a, b in pairs[1:]]


def measure(benchmark: Benchmark, quick: bool) -> Iterator[Row]:
    """Measure everything, row by row."""
    precisions = [{}] if quick else [{}, {"precision": "bfloat16"}]
    for name, case in CASES.items():
        for mode, label in MODES.items():
            task = {"task": "run", "model": name, "mode": mode, **case}
            ratios = benchmark.compare_variants(task, precisions, benchmark.n_pairs)
            for suffix, kind in zip(("", ", ours in bfloat16"), ratios, strict=False):
                yield row(name, label + suffix, case["shape"], kind)
    if quick:
        return
    for name, case in CASES.items():
        task = {"task": "memory", "model": name, "mode": "step", **case}
        yield row(name, "peak memory of a step", case["shape"], benchmark.compare_memory(task))
    yield from growth(benchmark)
    yield from starting(benchmark)


def growth(benchmark: Benchmark) -> Iterator[Row]:
    """Measure longer windows and larger batches."""
    for name in ("CodeBrain", "EEGDINO"):
        for seconds in (10, 60, 120):
            arguments = CASES[name]["arguments"] | {"n_times": 200 * seconds}
            case = {"model": name, "arguments": arguments, "shape": (1, 19, 200 * seconds)}
            for mode, label in MODES.items():
                ratios = benchmark.compare({"task": "run", "mode": mode, **case})
                yield row(name, label, case["shape"], ratios)
            ratios = benchmark.compare_memory({"task": "memory", "mode": "step", **case})
            yield row(name, "peak memory of a step", case["shape"], ratios)
    for name, case in CASES.items():
        for batch in (1, 2 * case["shape"][0]):
            shape = (batch, *case["shape"][1:])
            ratios = benchmark.compare(
                {"task": "run", "model": name, "mode": "forward", **case, "shape": shape}
            )
            yield row(name, "forward pass", shape, ratios)


def starting(benchmark: Benchmark) -> Iterator[Row]:
    """Measure what has to happen before the first window."""
    yield row("package", "import", None, benchmark.compare_imports())
    for name, case in CASES.items():
        ratios = benchmark.compare({"task": "construction", "model": name, "arguments": case["arguments"]})
        yield row(name, "construction", None, ratios)
    with tempfile.TemporaryDirectory() as folder:
        EEGPT(**CASES["EEGPT"]["arguments"]).save_pretrained(folder)
        ratios = benchmark.compare({"task": "loading", "model": "EEGPT", "folder": folder})
    yield row("EEGPT", "loading 101 MB", None, ratios)


def ours_alone(benchmark: Benchmark) -> Iterator[Row]:
    """Measure what has no counterpart: precision of bfloat16, compilation, windows per second."""
    for name, case in CASES.items():
        value = benchmark.ours({"task": "error", "model": name, **case})
        yield {"model": name, "measure": "relative error of features in bfloat16", "value": f"{value:.1e}"}
    for name, case in CASES.items():
        task = {"task": "run", "model": name, "mode": "forward", **case}
        sides = [Side(sys.executable, "eeglab_models") for _ in range(2)]
        first = [
            side.ask(task | {"compile": compiled})
            for side, compiled in zip(sides, (False, True), strict=True)
        ]
        ratios = [
            sides[0].ask(task | {"compile": False}) / sides[1].ask(task | {"compile": True}) for _ in range(7)
        ]
        for side in sides:
            side.close()
        value = f"{statistics.median(ratios):.2f} times as fast; compiling takes {first[1] - first[0]:.0f} s"
        yield {"model": name, "measure": "torch.compile, forward pass", "value": value}
    for name, contract in ((name, model.contract) for name, model in MODELS.items()):
        if contract.ch_names is None:
            continue
        sfreq, n_times = contract.sfreq, round(4 * contract.sfreq)
        arguments = {
            "n_outputs": 2,
            "n_times": n_times,
            "sfreq": sfreq,
            "chs_info": [{"ch_name": channel} for channel in TEMPLE],
        }
        case = {"task": "throughput", "model": name, "arguments": arguments, "shape": (64, 19, n_times)}
        for mode in ("prepare", "features"):
            value = benchmark.ours({**case, "mode": mode, "sfreq": sfreq})
            yield {
                "model": name,
                "measure": f"{mode}, 4 s, 19 channels",
                "value": f"{value:.0f} windows per second",
            }


def row(model: str, measured: str, shape: tuple[int, ...] | None, ratios: list[float]) -> Row:
    """Summarise the ratios of one comparison."""
    return {
        "model": model,
        "measure": measured,
        "input": "" if shape is None else " x ".join(map(str, shape)),
        "median": statistics.median(ratios),
        "low": min(ratios),
        "high": max(ratios),
    }


def collect(rows: Iterable[Row], write: Callable[[Row], str], kept: list[Row]) -> None:
    """Print every row as soon as it is known, and keep it."""
    for measured in rows:
        print(write(measured), flush=True)
        kept.append(measured)


def write_ratio(measured: Row) -> str:
    """Write one comparison as a line of the table."""
    spread = f"{measured['median']:.2f} ({measured['low']:.2f} to {measured['high']:.2f})"
    return f"| {measured['model']} | {measured['measure']} | {measured['input']} | {spread} |"


def write_value(measured: Row) -> str:
    """Write one value of ours as a line of the table."""
    return f"| {measured['model']} | {measured['measure']} | {measured['value']} |"


def main() -> None:
    """Measure, print, and write a table, the numbers and a figure."""
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("--peer-python", help="interpreter with braindecode")
    parser.add_argument("--quick", action="store_true", help="forward pass and training step only, one pair")
    parser.add_argument("--output", type=Path, default=Path("outputs/benchmark"))
    options = parser.parse_args()
    if not options.peer_python:
        parser.error("braindecode is needed for a comparison: pass --peer-python PYTHON.")
    benchmark = Benchmark(options.peer_python, n_pairs=1 if options.quick else 7)

    head = ["Time or memory of braindecode divided by ours: median (smallest to largest)", ""]
    head += ["| model | measure | input | ratio |", "|---|---|---|---|"]
    between = ["", "Ours alone", "", "| model | measure | value |", "|---|---|---|"]
    ratios: list[Row] = []
    values: list[Row] = []
    try:
        print("\n".join(head))
        collect(measure(benchmark, options.quick), write_ratio, ratios)
        if not options.quick:
            print("\n".join(between))
            collect(ours_alone(benchmark), write_value, values)
    finally:
        # What was measured before an interruption is kept.
        lines = [*head, *map(write_ratio, ratios), *(between if values else []), *map(write_value, values)]
        write_results(options.output, lines, ratios, values)


def write_results(folder: Path, lines: list[str], ratios: list[Row], values: list[Row]) -> None:
    """Write the table, the numbers and the figure."""
    import pandas as pd

    from eeglab_models import plotting

    folder.mkdir(parents=True, exist_ok=True)
    (folder / "table.md").write_text("\n".join(lines) + "\n", encoding="utf-8")
    (folder / "results.json").write_text(json.dumps({"ratios": ratios, "ours": values}, indent=1))
    inputs = {" x ".join(map(str, case["shape"])) for case in CASES.values()} | {"1 x 19 x 24000"}
    shown = [r for r in ratios if r["measure"] in MODES.values() and r["input"] in inputs]
    plotting.plot_ratios(pd.DataFrame(shown)).savefig(folder / "speed.png", dpi=150)


if __name__ == "__main__":
    main()
