"""Pretrain small encoders on real EEG and ask what they learned: ``python data/checkpoints/real.py``.

Run it where ``recordings/eegmat`` and ``recordings/eegmmidb`` are PhysioNet's recordings (of the latter runs
4, 8, 12). Every variant is trained for every seed, on people whom nobody tests on, unless its folder in
``outputs/real`` is there; its random twin has the same initial weights. Then both are probed on windows of
4 s from 4 to 45 Hz, levelled recording by recording. The layer of each variant, and that of its twins, is
chosen on people who are not tested. Written to ``real.csv``: scores of the people to test on, one row per
person and seed. ``--summary`` compares what that file holds.
"""

import argparse
import shutil
from collections.abc import Callable, Iterator
from dataclasses import replace
from functools import cache, partial
from pathlib import Path
from typing import Any

import mne
import numpy as np
import pandas as pd
from moabb.datasets.preprocessing import EuclideanAlignment
from scipy.stats import spearmanr
from sklearn.linear_model import Ridge, RidgeClassifier
from sklearn.model_selection import KFold
from sklearn.pipeline import make_pipeline
from sklearn.preprocessing import StandardScaler

from eeglab_models import EEGDINO, prepare
from eeglab_models.features import baselines, centre, extract_features, extract_layers
from eeglab_models.files import write_json
from eeglab_models.models.report import fingerprint
from eeglab_models.pretraining import read_configuration
from eeglab_models.pretraining.configuration import Configuration, find_classes
from eeglab_models.pretraining.corpus.data import Data
from eeglab_models.scores import mean_interval
from eeglab_models.signals.preparation import level_recordings
from eeglab_models.signals.simulation import SimulatedMotorImagery
from eeglab_models.signals.windows import Windows, concatenate

RUNS, TABLE = Path("outputs/real"), Path(__file__).with_name("real.csv")
RECORDINGS = Path("recordings")
# People whose layers are compared, and people who are tested.
PEOPLE = {
    "choose": {"eegmat": range(14), "eegmmidb": (4, 5, 6, 8, 11, 12, 14, 16)},
    "test": {"eegmat": range(14, 24), "eegmmidb": (1, 2, 3, 7, 9, 10, 13, 15), "simulated": range(7, 17)},
}
BAND = {"fmin": 4.0, "fmax": 45.0, "bad_windows": "drop"}
EDGES = (4, 8, 13, 20, 30, 45)
BACK = ("P3", "Pz", "P4", "O1", "O2")
N_WINDOWS, N_LABELLED, N_FOLDS = 15, 4, 5
# A ready configuration, and what is changed of its objective.
VARIANTS: dict[str, tuple[str, dict[str, Any]]] = {
    "EEGDINO": ("eegdino-real", {"embedding_scale": 1.0}),
    "EEGDINO, rescaled": ("eegdino-real", {}),
    "CodeBrain": ("codebrain-real", {"embedding_scale": 1.0}),
    "CodeBrain, rescaled": ("codebrain-real", {}),
    "EEGPT": ("eegpt-real", {}),
}
# Seed 0 of these comes with the repository.
SHIPPED = {
    "eegdino-real": "EEGDINO, rescaled",
    "codebrain-real": "CodeBrain, rescaled",
    "eegpt-real": "EEGPT",
}
CARD = """---
library_name: eeglab_models
license: bsd-3-clause
tags: [eeg, pretraining]
---

# {model}, pretrained on real EEG

A small encoder for lessons and comparisons, not for diagnosis or decisions about people. It has no head.

| | |
|---|---|
| objective | `MaskedSpectra`, a variation: log spectra of hidden patches; what embeds patches begins {scale:g} times as large. {n_steps} steps of {batch_size} windows |
| data | {n_windows} windows of 4 s, one every 2 s, without labels, {hours:.1f} hours of {n_people} people: {people} |
| held out | {held_out}: losses, and the choice of the layer together with the people above |
| tested on | eegmat 14 to 23; EEGMMIDB S001 S002 S003 S007 S009 S010 S013 S015: nothing was learned from them or chosen on them |
| input | 19 channels of the 10-20 system, {sfreq:g} Hz, {unit}, 4 to 45 Hz, average reference, median channel at 10 µV |
| held-out losses | {losses}; 1 is the error of the mean |
| readout | `readout.json`, as `features_of("{name}", recording)` applies it: layer {layer}, averaged over time |
| seed | 0, of {n_seeds} that were trained and are probed below |
| time | {seconds:.0f} s, beside other work, on one core |
| command | `eeglab-models pretrain {name}`, with the recordings in `recordings/eegmat` and `recordings/eegmmidb` |
| fingerprint of the encoder | `{fingerprint}` |
| licence | BSD-3-Clause for the weights. The recordings: PhysioNet, ODC-BY 1.0; Zyma et al. (2019), Electroencephalograms during mental arithmetic task performance; Schalk et al. (2004), BCI2000; Goldberger et al. (2000), PhysioNet |

Linear probes, learned from other people and centred per person without labels where a task does not say else:
accuracies, and rank correlations of alpha power. The random twins have the same initial weights, so what a larger
start alone gives is in both. Intervals are bootstraps over people (95 %, bias-corrected and accelerated); seeds are
averaged first. Band power is that of 19 channels in 5 bands, on the same levelled windows.

{probes}

Rest always precedes arithmetic, and each is a file of its own: the classes are confounded with the recording.
`python data/checkpoints/real.py` measures this and writes this card.
"""  # noqa: E501
COLUMNS = ["variant", "kind", "seed", "task", "layer", "subject", "score"]
Scores = Iterator[tuple[int, float]]


@cache
def gather(name: str) -> Data:
    """Build the corpus of a configuration, once for all trainings."""
    configuration, folder = read_configuration(name), RUNS / f"corpus of {name}"
    configuration.data.build(find_classes(configuration.objective)[1], folder)
    return replace(configuration.data, recordings=None, corpus=str(folder))


def configure(variant: str, seed: int) -> Configuration:
    """Read the configuration of a variant, with a seed and the corpus that all share."""
    name, arguments = VARIANTS[variant]
    found = read_configuration(name)
    return replace(
        found,
        arguments=found.arguments | arguments,
        data=gather(name),
        training=found.training | {"seed": seed, "cpu": True},
    )


def load_arithmetic(model, people) -> Windows:
    """Load the last minute of rest and the minute of arithmetic."""
    parts = []
    for person in people:
        for run, label in ((1, "rest"), (2, "task")):
            raw = mne.io.read_raw_edf(RECORDINGS / f"eegmat/Subject{person:02d}_{run}.edf", verbose="error")
            own = prepare(raw, model, events=[], **BAND)
            parts.append(mark(own[np.arange(len(own))[-N_WINDOWS:]], person, run, label))
    return concatenate(parts)


def load_hands(model, people) -> Windows:
    """Load imagined movements of the left and the right fist, four seconds from the cue on."""
    parts, events = [], {"left": "T1", "right": "T2"}
    for person in people:
        for run in (4, 8, 12):
            raw = mne.io.read_raw_edf(RECORDINGS / f"eegmmidb/S{person:03d}R{run:02d}.edf", verbose="error")
            own = prepare(raw, model, events=events, tmax=4.0, **BAND)
            parts.append(mark(own, person, run, own.labels))
    return concatenate(parts)


def load_simulated(model, people) -> Windows:
    """Load imagined movements of simulated people."""
    names = read_configuration("eegdino-real").data.channels
    parts = []
    for person in people:
        simulated = SimulatedMotorImagery(
            max(people), 1, 2, classes=("left_hand", "right_hand"), ch_names=names, subjects=[person]
        )
        own = prepare(simulated, model, subjects=[person], **BAND)
        parts.append(mark(own, person, 1, own.labels))
    return concatenate(parts)


def mark(windows: Windows, person: int, run: int, labels: str | np.ndarray) -> Windows:
    """Level a recording, and say whose windows these are."""
    metadata = pd.DataFrame({"subject": [person] * len(windows), "run": [run] * len(windows)})
    labels = np.broadcast_to(labels, len(windows)).astype(str)
    return level_recordings(replace(windows, labels=labels, metadata=metadata), by=())


LOADERS = {"eegmat": load_arithmetic, "eegmmidb": load_hands, "simulated": load_simulated}


@cache
def load(model_class: type, split: str, source: str) -> Windows:
    """Load people of one kind as a class of models reads them."""
    mne.set_log_level("error")
    stand_in = read_configuration("eegdino-real").data.stand_in(model_class)
    return LOADERS[source](stand_in, PEOPLE[split][source])


def ridge() -> Any:
    """Build a probe of many features."""
    return make_pipeline(StandardScaler(), RidgeClassifier(alpha=1000.0))


def across(x: np.ndarray, windows: Windows, build: Callable = ridge, n_labelled: int | None = None) -> Scores:
    """Score every person by what all others say, or the next few."""
    person = windows.metadata["subject"].to_numpy()
    people = np.unique(person)
    for place, one in enumerate(people):
        others = np.roll(people, -place)[1 : None if n_labelled is None else n_labelled + 1]
        learn, own = np.isin(person, others), person == one
        yield one, build().fit(x[learn], windows.labels[learn]).score(x[own], windows.labels[own])


def within(x: np.ndarray, windows: Windows, build: Callable = ridge) -> Scores:
    """Score every person in five parts that follow each other, by what the other four say."""
    for one, rows in windows.metadata.groupby("subject").indices.items():
        scores = [
            build().fit(x[rows[a]], windows.labels[rows[a]]).score(x[rows[b]], windows.labels[rows[b]])
            for a, b in KFold(N_FOLDS).split(rows)
        ]
        yield one, float(np.mean(scores))


def whose(x: np.ndarray, windows: Windows) -> Scores:
    """Share of the windows of arithmetic whose person is told by what was learned at rest."""
    person, at_rest = windows.metadata["subject"].to_numpy(), windows.labels == "rest"
    probe = ridge().fit(x[at_rest], person[at_rest])
    for one in np.unique(person):
        yield one, float((probe.predict(x[~at_rest & (person == one)]) == one).mean())


def alpha(x: np.ndarray, windows: Windows) -> Scores:
    """Rank correlation, within a person, of power at the back of the head with what others taught."""
    person = windows.metadata["subject"].to_numpy()
    rows = [windows.ch_names.index(name) for name in BACK]
    right = band_power(windows)[:, rows, 1].mean(axis=1)
    for one in np.unique(person):
        own = person == one
        probe = make_pipeline(StandardScaler(), Ridge(alpha=1000.0)).fit(x[~own], right[~own])
        yield one, float(spearmanr(probe.predict(x[own]), right[own]).statistic)


def band_power(windows: Windows) -> np.ndarray:
    """Take log power in five bands of every channel, shape (n_windows, n_chans, n_bands)."""
    n_times, sfreq = windows.data.shape[-1], windows.info["sfreq"]
    frequencies = np.fft.rfftfreq(n_times, 1 / sfreq)
    power = np.abs(np.fft.rfft(windows.data * np.hanning(n_times))) ** 2
    pairs = zip(EDGES, EDGES[1:], strict=False)
    means = [power[..., (frequencies >= low) & (frequencies < high)].mean(axis=-1) for low, high in pairs]
    return np.log(np.stack(means, axis=-1))


def ask(x: np.ndarray, windows: Windows, source: str) -> dict[str, Scores]:
    """Name the tasks of some people, for one set of features."""
    centred = centre(x, windows.metadata["subject"])
    if source == "eegmat":
        return {
            "arithmetic": across(centred, windows),
            "arithmetic, four people": across(centred, windows, n_labelled=N_LABELLED),
            "whose person": whose(x, windows),
            "alpha power": alpha(x, windows),
        }
    if source == "simulated":
        return {"simulated hands, other people": across(centred, windows)}
    return {"hands, other people": across(centred, windows), "hands, own trials": within(centred, windows)}


def try_layers(encoder: Any) -> pd.Series:
    """Average the accuracy in arithmetic and in left against right of people who are not tested, by layer."""
    found: dict[str | int, list[float]] = {}
    for source in ("eegmat", "eegmmidb"):
        windows = load(type(encoder), "choose", source)
        for layer, x in extract_layers(encoder.eval(), windows, precision="float32").items():
            scores = dict(across(centre(x, windows.metadata["subject"]), windows))
            found.setdefault(layer, []).append(float(np.mean(list(scores.values()))))
    return pd.DataFrame(found).mean()


def probe(encoder: Any, layer: str | int) -> list[tuple]:
    """Score a layer of an encoder on all tasks of the people to test on."""
    rows = []
    for source in LOADERS:
        windows = load(type(encoder), "test", source)
        x = extract_features(encoder.eval(), windows, layer=layer, precision="float32")
        for task, found in ask(x, windows, source).items():
            rows += [(task, layer, one, score) for one, score in found]
    return rows


def probe_baselines() -> pd.DataFrame:
    """Score band power and what covariances say, on the same windows of the same people."""
    rows = []
    for source in LOADERS:
        windows = load(EEGDINO, "test", source)
        person = windows.metadata["subject"].to_numpy()
        power = band_power(windows).reshape(len(windows), -1)
        found = {("band power", task): own for task, own in ask(power, windows, source).items()}
        signal = windows.data.astype(np.float64)
        for one in np.unique(person):
            signal[person == one] = EuclideanAlignment().fit_transform(signal[person == one])
        pipelines = baselines(windows.info["sfreq"])
        for name in ("CSP + LDA", "tangent space + LR") if source != "simulated" else ():
            build = partial(pipelines.__getitem__, name)
            task = "arithmetic" if source == "eegmat" else "hands, other people"
            found[name, task] = across(signal, windows, build)
            if source == "eegmmidb":
                found[name, "hands, own trials"] = within(signal, windows, build)
        for (name, task), own in found.items():
            rows += [(name, "baseline", 0, task, "", one, score) for one, score in own]
    return pd.DataFrame(rows, columns=COLUMNS)


def probe_variant(variant: str, seeds: range) -> pd.DataFrame:
    """Train a variant, and score it and its random twins, each kind at the layer that others chose."""
    encoders: dict[str, dict[int, Any]] = {"pretrained": {}, "random": {}}
    for seed in seeds:
        configuration, folder = configure(variant, seed), RUNS / f"{variant}, seed {seed}"
        if not (folder / "encoder").is_dir():
            configuration.run(folder, progress=False)
        model_class = find_classes(configuration.objective)[1]
        encoders["pretrained"][seed] = model_class.from_pretrained(folder / "encoder")
        encoders["random"][seed] = configuration.build().encoder
    rows = []
    for kind, own in encoders.items():
        layer = pd.DataFrame([try_layers(encoder) for encoder in own.values()]).mean().idxmax()
        for seed, encoder in own.items():
            rows += [(variant, kind, seed, *row) for row in probe(encoder, layer)]
    return pd.DataFrame(rows, columns=COLUMNS)


def summarise(table: pd.DataFrame) -> pd.DataFrame:
    """Compare encoders with their twins and with band power; seeds are averaged, people the sample."""
    means = table.groupby(["variant", "kind", "task", "subject"])["score"].mean()
    rows = []
    for (variant, task), own in table[table["kind"] == "pretrained"].groupby(["variant", "task"], sort=False):
        pretrained = means[variant, "pretrained", task]
        row = {"variant": variant, "task": task, "pretrained": pretrained.mean()}
        for name, other in (
            ("random", means[variant, "random", task]),
            ("power", means["band power", "baseline", task]),
        ):
            low, high = mean_interval((pretrained - other).to_numpy(), method="bootstrap")
            row |= {name: other.mean(), f"over {name}": (pretrained - other).mean(), f"{name} low": low}
            row |= {f"{name} high": high}
        rows.append(row | {"seeds": own["seed"].nunique(), "people": own["subject"].nunique()})
    return pd.DataFrame(rows)


def ship(name: str, table: pd.DataFrame) -> None:
    """Save an encoder with its readout and a card that says what it is and how good."""
    variant, folder = SHIPPED[name], TABLE.with_name(name)
    configuration, run = configure(variant, 0), RUNS / f"{variant}, seed 0"
    model_class = find_classes(configuration.objective)[1]
    model = model_class.from_pretrained(run / "encoder")
    # A model that replaces another keeps a note of that in its file, whose hash then differs.
    shutil.rmtree(folder, ignore_errors=True)
    model.save_pretrained(folder)
    found = table[(table["variant"] == variant) & (table["kind"] == "pretrained")]
    layer = found["layer"].iloc[0]
    readout = {"model": model_class.__name__, "band": {"fmin": 4.0, "fmax": 45.0}, "level": 10.0}
    readout |= {"layer": int(layer) if layer.isdigit() else layer, "pool": "time"}
    write_json(folder / "readout.json", readout)
    parts = configuration.data.load(model_class, run)
    learn, held_out = (own.recordings["subject"].unique() for own in parts)
    history = pd.read_csv(run / "metrics.csv")
    losses = history.dropna(subset=["valid_loss"]).iloc[-1]
    card = CARD.format(
        **configuration.training,
        name=name,
        model=model_class.__name__,
        scale=configuration.arguments.get("embedding_scale", 1.0),
        n_windows=len(parts[0]),
        hours=len(parts[0]) * 2 / 3600,
        n_people=len(learn),
        people=" ".join(sorted(learn)),
        held_out=" ".join(sorted(held_out)),
        sfreq=model_class.contract.sfreq,
        unit=model_class.contract.unit,
        losses=f"hidden {losses['valid_hidden']:.3f}, visible {losses['valid_visible']:.3f}",
        layer=layer,
        n_seeds=found["seed"].nunique(),
        seconds=history["seconds"].iloc[-1],
        fingerprint=fingerprint(model),
        probes=tabulate(summarise(table).query("variant == @variant")),
    )
    (folder / "README.md").write_text(card, encoding="utf-8")


def tabulate(summary: pd.DataFrame) -> str:
    """Write what was compared as a table in Markdown."""
    head = ["task", "pretrained", "random twins", "difference", "band power", "difference", "people"]
    lines = ["| " + " | ".join(head) + " |", "|---" * len(head) + "|"]
    for row in summary.to_dict("records"):
        cells = [row["task"], f"{row['pretrained']:.3f}"]
        for name in ("random", "power"):
            bounds = f"{row[f'{name} low']:+.3f} to {row[f'{name} high']:+.3f}"
            cells += [f"{row[name]:.3f}", f"{row[f'over {name}']:+.3f}, {bounds}"]
        lines.append("| " + " | ".join([*cells, str(row["people"])]) + " |")
    return "\n".join(lines)


def main() -> None:
    """Train, probe and compare."""
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("--variants", nargs="+", default=list(VARIANTS), choices=list(VARIANTS))
    parser.add_argument("--seeds", type=int, default=5, help="trainings of each variant")
    parser.add_argument("--summary", action="store_true", help="compare what was probed before")
    options = parser.parse_args()
    if not options.summary:
        for variant in ["baselines", *options.variants]:
            new = (
                probe_baselines() if variant == "baselines" else probe_variant(variant, range(options.seeds))
            )
            known = pd.read_csv(TABLE, dtype={"layer": str}) if TABLE.is_file() else new[:0]
            known = known[~known["variant"].isin(new["variant"])]
            pd.concat([known, new.round(4)]).to_csv(TABLE, index=False)
        for name in [name for name in SHIPPED if SHIPPED[name] in options.variants]:
            ship(name, pd.read_csv(TABLE, dtype={"layer": str}))
    print(summarise(pd.read_csv(TABLE)).round(3).to_string())


if __name__ == "__main__":
    main()
