"""Probe the encoders that learned from real EEG: ``python data/checkpoints/real.py FOLDER RUN [RUN ...]``.

FOLDER holds PhysioNet's eegmat; a RUN is what ``eeglab-models pretrain`` filled, of one of the configurations
``*-real`` with one seed. Rest against arithmetic is learned from other people, from levelled windows of
4 to 45 Hz whose features are centred per person without labels. The layer is chosen on people whom nobody
tests on. Written to ``real.csv``: accuracies of the encoder, of its random twin with the same initial
weights, of the published initial weights, and of log power in five bands.
"""

import sys
from dataclasses import replace
from pathlib import Path

import mne
import numpy as np
import pandas as pd
from sklearn.linear_model import RidgeClassifier
from sklearn.pipeline import make_pipeline
from sklearn.preprocessing import StandardScaler

from eeglab_models import prepare
from eeglab_models.configs import read_json
from eeglab_models.features import extract_layers
from eeglab_models.pretraining import read_configuration
from eeglab_models.pretraining.configuration import find_classes
from eeglab_models.scores import mean_interval
from eeglab_models.signals.preparation import level_recordings
from eeglab_models.signals.windows import Windows, concatenate

SPLITS = {"choose": tuple(range(14)), "test": tuple(range(14, 24))}
BANDS = (4, 8, 13, 20, 30, 45)
N_WINDOWS, N_LABELLED = 15, 4


def load_people(folder: Path, model, people) -> Windows:
    """Load the last minute of rest and the minute of arithmetic, each levelled on its own."""
    parts = []
    for person in people:
        for run, label in ((1, "rest"), (2, "task")):
            raw = mne.io.read_raw_edf(folder / f"Subject{person:02d}_{run}.edf", verbose="error")
            own = prepare(raw, model, events=[], fmin=4.0, fmax=45.0, bad_windows="drop")
            own = own[np.arange(len(own))[-N_WINDOWS:]]
            metadata = pd.DataFrame({"subject": [person] * len(own), "run": [run] * len(own)})
            own = replace(own, labels=np.full(len(own), label), metadata=metadata)
            parts.append(level_recordings(own, by=()))
    return concatenate(parts)


def band_power(windows: Windows) -> np.ndarray:
    """Take log power in five bands of every channel."""
    n_times, sfreq = windows.data.shape[-1], windows.info["sfreq"]
    frequencies = np.fft.rfftfreq(n_times, 1 / sfreq)
    power = np.abs(np.fft.rfft(windows.data * np.hanning(n_times))) ** 2
    pairs = zip(BANDS, BANDS[1:], strict=False)
    means = [power[..., (frequencies >= low) & (frequencies < high)].mean(axis=-1) for low, high in pairs]
    return np.log(np.stack(means, axis=-1)).reshape(len(windows), -1)


def score(features: np.ndarray, windows: Windows, n_labelled: int | None) -> dict[int, float]:
    """Score every person by what all others say, or the next few."""
    person = windows.metadata["subject"].to_numpy()
    centred = features - pd.DataFrame(features).groupby(person).transform("mean").to_numpy()
    people, found = np.unique(person), {}
    for place, one in enumerate(people):
        others = np.roll(people, -place)[1 : None if n_labelled is None else n_labelled + 1]
        probe = make_pipeline(StandardScaler(), RidgeClassifier(alpha=1000.0))
        learn = np.isin(person, others)
        probe.fit(centred[learn], windows.labels[learn])
        found[int(one)] = probe.score(centred[person == one], windows.labels[person == one])
    return found


def probe_run(folder: Path, run: Path) -> list[tuple]:
    """Score the layers of one encoder, of its twins, and band power."""
    own = read_json(run / "configuration.json")
    name, seed = own["name"], own["training"].get("seed", 0)
    configuration = read_configuration(name)
    configuration = replace(configuration, training=configuration.training | {"seed": seed})
    model_class = find_classes(configuration.objective)[1]
    encoders = {
        "pretrained": model_class.from_pretrained(run / "encoder"),
        "random": configuration.build().encoder,
        "random, not rescaled": replace(configuration, arguments={}).build().encoder,
    }
    rows = []
    for split, people in SPLITS.items():
        windows = load_people(folder, encoders["pretrained"], people)
        features = {("band power", ""): band_power(windows)}
        for kind, encoder in encoders.items():
            layers = extract_layers(encoder.eval(), windows, precision="float32")
            features |= {(kind, str(layer)): values for layer, values in layers.items()}
        for (kind, layer), values in features.items():
            tasks = {"arithmetic": None, "arithmetic, four people": N_LABELLED}
            for task, n_labelled in tasks.items() if split == "test" else [("arithmetic", None)]:
                for person, accuracy in score(values, windows, n_labelled).items():
                    rows.append((name, kind, seed, layer, split, task, person, accuracy))
    return rows


def summarise(table: pd.DataFrame) -> str:
    """Compare encoder and twin at layers chosen on other people; 95 % by bootstrap over people."""
    lines = []
    for name, own in table.groupby("name"):
        tried = own[own["split"] == "choose"].groupby(["kind", "layer"])["accuracy"].mean()
        best = {kind: layer for kind, layer in tried.groupby("kind").idxmax()}
        for task, rows in own[own["split"] == "test"].groupby("task"):
            mean = {
                kind: rows[(rows["kind"] == kind) & (rows["layer"] == layer)]
                .groupby("subject")["accuracy"]
                .mean()
                for kind, layer in best.items()
            }
            for kind in set(mean) - {"pretrained"}:
                gain = (mean["pretrained"] - mean[kind]).to_numpy()
                low, high = mean_interval(gain, method="bootstrap")
                lines.append(
                    f"{name}, {task}: pretrained {mean['pretrained'].mean():.3f} (layer "
                    f"{best['pretrained']}), "
                    f"{kind} {mean[kind].mean():.3f} (layer {best[kind]}), {gain.mean():+.3f} "
                    f"({low:+.3f}, {high:+.3f}), {len(gain)} people, {rows['seed'].nunique()} seeds"
                )
    return "\n".join(sorted(lines))


if __name__ == "__main__":
    if len(sys.argv) < 3:
        sys.exit(__doc__)
    rows = [row for run in sys.argv[2:] for row in probe_run(Path(sys.argv[1]), Path(run))]
    columns = ["name", "kind", "seed", "layer", "split", "task", "subject", "accuracy"]
    table = pd.DataFrame(rows, columns=columns)
    table.round(4).to_csv(Path(__file__).with_name("real.csv"), index=False)
    print(
        table.groupby(["split", "task", "kind", "layer"])["accuracy"].mean().round(3),
        summarise(table),
        sep="\n",
    )
