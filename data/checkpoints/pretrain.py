"""Pretrain the toy encoders, probe them and save them: ``python data/checkpoints/pretrain.py``.

Every ready configuration whose name ends in ``-toy`` is run, which takes minutes each on two cores and goes
on where it was interrupted. The encoders of the first seed are saved next to this file, each with a card.
What linear probes reach on subjects who were held out, with pretrained and with random weights, goes to
pretraining.csv. With ``--arithmetic FOLDER``, PhysioNet's mental arithmetic recordings are probed too, each
person left out in turn.
"""

import argparse
from dataclasses import replace
from pathlib import Path

import mne
import numpy as np
import pandas as pd

from eeglab_models import Windows, load_windows, prepare
from eeglab_models.adapting import extract_features, linear_probe
from eeglab_models.models.base import EEGModel
from eeglab_models.models.report import fingerprint
from eeglab_models.pretraining import read_configuration
from eeglab_models.pretraining.configuration import Configuration, find_classes
from eeglab_models.signals.arithmetic import load_arithmetic

HERE, RUNS = Path(__file__).parent, Path("outputs/pretraining")
NAMES = ("codebrain-toy", "eegpt-toy", "eegdino-toy")
HANDS = ("left_hand", "right_hand")
CARD = """---
library_name: eeglab_models
license: bsd-3-clause
tags: [eeg, pretraining, simulated]
---

# {model}, pretrained on simulated EEG

A small encoder for notebooks and tests, not for people. Its head is random.

| | |
|---|---|
| objective | `{objective}`, {n_steps} steps of {batch_size} windows |
| data | `SimulatedMotorImagery`: windows of 4 s of subjects other than {held_out}, without labels |
| input | 22 channels, {sfreq:g} Hz, {unit} |
| held-out losses | {losses} |
| linear probes on held-out subjects | {probes} |
| the same with random weights | {random} |
| seed | {seed} |
| command | `python data/checkpoints/pretrain.py` |
| fingerprint of the encoder | `{fingerprint}` |
| licence | BSD-3-Clause |
"""


def main() -> None:
    """Train, probe and save."""
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("--seeds", type=int, nargs="+", default=[0], help="trainings of each configuration")
    parser.add_argument("--random-seeds", type=int, nargs="+", default=[0, 1, 2], help="random encoders")
    parser.add_argument("--arithmetic", help="folder of PhysioNet's mental arithmetic recordings")
    options = parser.parse_args()
    mne.set_log_level("error")
    rows, histories = [], {}
    for name in NAMES:
        for seed in options.seeds:
            histories[name, seed] = train(name, seed)
            rows += probe(name, with_seed(name, seed), "pretrained", seed, options.arithmetic)
        for seed in options.random_seeds:
            rows += probe(name, with_seed(name, seed), "random", seed, options.arithmetic)
    table = pd.DataFrame(rows, columns=["name", "kind", "seed", "task", "subject", "accuracy"])
    table.round(4).to_csv(HERE / "pretraining.csv", index=False)
    print(table.groupby(["name", "kind", "task"])["accuracy"].mean().unstack("kind").round(3))
    for name in NAMES:
        seed = options.seeds[0]
        save(name, with_seed(name, seed), histories[name, seed], table[table["name"] == name])


def with_seed(name: str, seed: int) -> Configuration:
    """Read a ready configuration and give it a seed, and the tokenizer of this seed."""
    configuration = read_configuration(name)
    configuration = replace(configuration, training=configuration.training | {"seed": seed})
    if configuration.tokenizer is None:
        return configuration
    return replace(configuration, tokenizer=str(RUNS / f"codebrain-tokenizer-toy-{seed}" / "encoder"))


def train(name: str, seed: int) -> pd.DataFrame:
    """Run a configuration, unless it was run before; CodeBrain's tokenizer comes first."""
    folder, configuration = RUNS / f"{name}-{seed}", with_seed(name, seed)
    if (folder / "encoder").is_dir():
        return pd.read_csv(folder / "metrics.csv")
    if configuration.tokenizer is not None:
        train("codebrain-tokenizer-toy", seed)
    return configuration.run(folder, progress=False)


def probe(
    name: str, configuration: Configuration, kind: str, seed: int, arithmetic: str | None
) -> list[tuple]:
    """Score linear probes: on the next session, on the next subject, and on people at rest or calculating."""
    model_class = find_classes(configuration.objective)[1]
    rows = []

    def describe(windows: Windows) -> np.ndarray:
        signal = {"n_outputs": 2, **windows.signal_for(model_class)}
        if kind == "pretrained":
            model = model_class.from_pretrained(RUNS / f"{name}-{seed}" / "encoder", **signal)
        else:
            model = configuration.build_encoder(**signal)
        return extract_features(model, prepare(windows, model), precision="float32")

    windows = load_windows("SimulatedMotorImagery", list(map(int, configuration.data.held_out)))
    features, labels = describe(windows), windows.labels
    person = windows.metadata["subject"].to_numpy()
    is_last = windows.metadata["session"].str.startswith("1").to_numpy()
    for task, chosen in (("hands", np.isin(labels, HANDS)), ("four classes", np.full(len(labels), True))):
        for one in np.unique(person):
            own = chosen & (person == one)
            splits = {
                "next session": (own & ~is_last, own & is_last),
                "next subject": (chosen & ~own, own),
            }
            for way, (train, test) in splits.items():
                accuracy = (
                    linear_probe().fit(features[train], labels[train]).score(features[test], labels[test])
                )
                rows.append((name, kind, seed, f"{task}, {way}", str(one), accuracy))
    if arithmetic:
        windows = load_arithmetic(arithmetic, seconds=4.0)
        features, person = describe(windows), windows.metadata["subject"].to_numpy()
        for one in np.unique(person):
            test = person == one
            fitted = linear_probe().fit(features[~test], windows.labels[~test])
            accuracy = fitted.score(features[test], windows.labels[test])
            rows.append((name, kind, seed, "arithmetic, next subject", one, accuracy))
    return rows


def save(name: str, configuration: Configuration, history: pd.DataFrame, table: pd.DataFrame) -> None:
    """Save an encoder with a card that says what it is and how good."""
    model_class = find_classes(configuration.objective)[1]
    seed = configuration.training["seed"]
    model: EEGModel = model_class.from_pretrained(RUNS / f"{name}-{seed}" / "encoder")
    model.save_pretrained(HERE / name)
    last = history.filter(like="valid_").dropna().iloc[-1]
    bars = [term for term in last.index if not term.endswith(("_used", "_dead", "_norm"))]
    means = table.groupby(["kind", "task"])["accuracy"].mean()
    said = {
        kind: ", ".join(f"{task} {x:.2f}" for task, x in means[kind].items())
        for kind in ("pretrained", "random")
    }
    card = CARD.format(
        model=model_class.__name__,
        objective=configuration.objective,
        n_steps=configuration.training["n_steps"],
        batch_size=configuration.training["batch_size"],
        held_out=", ".join(configuration.data.held_out),
        sfreq=model_class.contract.sfreq,
        unit=model_class.contract.unit,
        losses=", ".join(f"{term.removeprefix('valid_')} {last[term]:.3f}" for term in bars),
        probes=said["pretrained"],
        random=said["random"],
        seed=seed,
        fingerprint=fingerprint(model),
    )
    (HERE / name / "README.md").write_text(card, encoding="utf-8")


if __name__ == "__main__":
    main()
