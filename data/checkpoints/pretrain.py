"""Pretrain the toy encoders, probe them and save them: ``python data/checkpoints/pretrain.py``.

Every ready configuration whose name ends in ``-toy`` is run, which takes minutes each on two cores and goes
on where it was interrupted. The encoders of the first seed are saved next to this file, each with a card;
losses and monitors on held-out windows, of all seeds, go to losses.csv.

What linear probes reach on pretrained and on random encoders goes to pretraining.csv. Nobody who is probed
was learned from. Of every kind of encoder the layer is probed that did best on `DEVELOPMENT`, and scores are
those of `TEST`, on whom nothing was chosen. With ``--arithmetic FOLDER``, PhysioNet's mental arithmetic
recordings are probed too, each person left out in turn.
"""

import argparse
from collections.abc import Iterator, Sequence
from dataclasses import replace
from functools import cache
from pathlib import Path

import mne
import numpy as np
import pandas as pd
import torch
from joblib import Parallel, delayed

from eeglab_models import Windows, load_windows, prepare
from eeglab_models.features import extract_layers, linear_probe
from eeglab_models.models.base import EEGModel
from eeglab_models.models.report import fingerprint
from eeglab_models.pretraining import read_configuration
from eeglab_models.pretraining.configuration import Configuration, find_classes
from eeglab_models.scores import compare
from eeglab_models.signals.mental_arithmetic import load_arithmetic
from eeglab_models.signals.simulation import SimulatedMotorImagery

HERE, RUNS = Path(__file__).parent, Path("outputs/pretraining")
NAMES = ("codebrain-toy", "eegpt-toy", "eegdino-toy")
HANDS = ("left_hand", "right_hand")
DEVELOPMENT, TEST = (22, 23, 24, 25), (3, 4, 7, 30, 31, 32, 33, 34, 35, 36)
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
| data | {n_subjects} simulated people, all but {held_out}: windows of 4 s without labels |
| input | 22 channels, {sfreq:g} Hz, {unit} |
| held-out losses | {losses} |
| seed | {seed} |
| command | `python data/checkpoints/pretrain.py` |
| fingerprint of the encoder | `{fingerprint}` |
| licence | BSD-3-Clause |

Linear probes on people whom no encoder has seen; {n_seeds} encoders with pretrained and with random weights.
Chosen on others: layer {pretrained_layer} of the pretrained ones, layer {random_layer} of the random ones.

{probes}
"""


def main() -> None:
    """Train, probe and save."""
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("--seeds", type=int, nargs="+", default=[0], help="trainings of each configuration")
    parser.add_argument("--random-seeds", type=int, nargs="+", default=[0, 1, 2], help="random encoders")
    parser.add_argument("--arithmetic", help="folder of PhysioNet's mental arithmetic recordings")
    parser.add_argument("--jobs", type=int, default=2, help="encoders to probe at a time")
    options = parser.parse_args()
    histories = {(name, seed): train(name, seed) for name in NAMES for seed in options.seeds}
    pd.concat([melt(*key, history) for key, history in histories.items()]).to_csv(
        HERE / "losses.csv", index=False
    )
    seeds = {"pretrained": options.seeds, "random": options.random_seeds}
    encoders = [(name, kind, seed) for name in NAMES for kind in seeds for seed in seeds[kind]]
    parallel = Parallel(n_jobs=options.jobs)
    tried = pd.concat(parallel(delayed(probe)(*encoder, DEVELOPMENT) for encoder in encoders))
    layers = choose_layers(tried)
    print(tried.groupby(["name", "kind", "layer"])["accuracy"].mean().round(3), layers, sep="\n")
    table = pd.concat(
        parallel(
            delayed(probe)(*encoder, TEST, [layers[encoder[:2]]], options.arithmetic) for encoder in encoders
        )
    )
    table.round(4).to_csv(HERE / "pretraining.csv", index=False)
    for name in NAMES:
        seed = options.seeds[0]
        save(name, with_seed(name, seed), histories[name, seed], table[table["name"] == name])


def with_seed(name: str, seed: int) -> Configuration:
    """Read a ready configuration and give it a seed; all share one tokenizer, as one would publish it."""
    configuration = read_configuration(name)
    known = set(configuration.data.simulation.subject_list) - set(map(int, configuration.data.held_out))
    assert not known & {*DEVELOPMENT, *TEST}, "people to probe must not be learned from"
    configuration = replace(configuration, training=configuration.training | {"seed": seed})
    if configuration.tokenizer is None:
        return configuration
    return replace(configuration, tokenizer=str(RUNS / "codebrain-tokenizer-toy-0" / "encoder"))


def train(name: str, seed: int) -> pd.DataFrame:
    """Run a configuration, unless it was run before; CodeBrain's tokenizer comes first."""
    folder, configuration = RUNS / f"{name}-{seed}", with_seed(name, seed)
    if (folder / "encoder").is_dir():
        return pd.read_csv(folder / "metrics.csv")
    if configuration.tokenizer is not None:
        train("codebrain-tokenizer-toy", 0)
    return configuration.run(folder, progress=False)


def melt(name: str, seed: int, history: pd.DataFrame) -> pd.DataFrame:
    """Keep what was measured on held-out windows, one number a row."""
    rows = history.dropna(subset=["valid_loss"]).filter(regex="^step$|^valid_")
    rows = rows.melt("step", var_name="term").round(4)
    return rows.assign(name=name, seed=seed)[["name", "seed", "step", "term", "value"]]


@cache
def load_people(people: Sequence[int]) -> Windows:
    """Simulate people and cut their trials out."""
    mne.set_log_level("error")
    return load_windows(SimulatedMotorImagery(n_subjects=max(people)), list(people))


def probe(
    name: str,
    kind: str,
    seed: int,
    people: Sequence[int],
    layers: Sequence[str | int] | None = None,
    arithmetic: str | None = None,
) -> pd.DataFrame:
    """Score linear probes of the layers of one encoder."""
    configuration = with_seed(name, seed)
    model_class = find_classes(configuration.objective)[1]
    sets = [(load_people(tuple(people)), split_imagery)]
    if arithmetic:
        sets.append((load_arithmetic(arithmetic, seconds=4.0), split_arithmetic))
    rows = []
    for windows, split in sets:
        signal = {"n_outputs": 2, **windows.signal_for(model_class)}
        torch.manual_seed(seed)
        if kind == "pretrained":
            model = model_class.from_pretrained(RUNS / f"{name}-{seed}" / "encoder", **signal)
        else:
            model = configuration.build_encoder(**signal)
        found = extract_layers(model, prepare(windows, model), layers, precision="float32")
        for task, one, train, test in split(windows):
            for layer, features in found.items():
                fitted = linear_probe().fit(features[train], windows.labels[train])
                accuracy = fitted.score(features[test], windows.labels[test])
                rows.append((name, kind, seed, str(layer), task, str(one), accuracy))
    return pd.DataFrame(rows, columns=["name", "kind", "seed", "layer", "task", "subject", "accuracy"])


def split_imagery(windows: Windows) -> Iterator[tuple]:
    """Learn imagined movements in a person's first session, or from all others; name task and person."""
    person = windows.metadata["subject"].to_numpy()
    is_last = windows.metadata["session"].str.startswith("1").to_numpy()
    for classes, labels in (("hands", HANDS), ("four classes", np.unique(windows.labels))):
        chosen = np.isin(windows.labels, labels)
        for one in np.unique(person):
            own = chosen & (person == one)
            yield f"{classes}, next session", one, own & ~is_last, own & is_last
            yield f"{classes}, next subject", one, chosen & ~own, own


def split_arithmetic(windows: Windows) -> Iterator[tuple]:
    """Learn from all others whether a person calculates or rests; name task and person."""
    person = windows.metadata["subject"].to_numpy()
    for one in np.unique(person):
        yield "arithmetic, next subject", one, person != one, person == one


def choose_layers(tried: pd.DataFrame) -> dict[tuple[str, str], str | int]:
    """Choose the layer of every kind of encoder that did best, all seeds, tasks and people counted alike."""
    means = tried.groupby(["name", "kind", "layer"])["accuracy"].mean()
    best = means.groupby(["name", "kind"]).idxmax()
    return {key: int(layer) if layer.isdigit() else layer for key, (_, _, layer) in best.items()}


def save(name: str, configuration: Configuration, history: pd.DataFrame, table: pd.DataFrame) -> None:
    """Save an encoder with a card that says what it is and how good."""
    model_class = find_classes(configuration.objective)[1]
    seed = configuration.training["seed"]
    model: EEGModel = model_class.from_pretrained(RUNS / f"{name}-{seed}" / "encoder")
    model.save_pretrained(HERE / name)
    last = history.filter(like="valid_").dropna().iloc[-1]
    bars = [term for term in last.index if not term.endswith(("_used", "_dead", "_norm"))]
    imagined = table[~table["task"].str.startswith("arithmetic")].assign(task="all imagined movements")
    scores = pd.concat([table, imagined]).rename(columns={"kind": "pipeline", "accuracy": "score"})
    lines = ["| task | pretrained | random | difference, 95 % over people | better in |", "|---" * 5 + "|"]
    for task, own in scores.groupby("task", sort=False):
        mean, found = own.groupby("pipeline")["score"].mean(), compare(own, "pretrained", "random")
        lines.append(
            f"| {task} | {mean['pretrained']:.3f} | {mean['random']:.3f} | {found.difference:+.3f}, "
            f"{found.low:+.3f} to {found.high:+.3f} | {found.n_wins} of {found.n_pairs} |"
        )
    chosen = table.groupby("kind")["layer"].first()
    card = CARD.format(
        model=model_class.__name__,
        objective=configuration.objective,
        n_steps=configuration.training["n_steps"],
        batch_size=configuration.training["batch_size"],
        n_subjects=len(configuration.data.simulation.subject_list),
        held_out=", ".join(configuration.data.held_out),
        sfreq=model_class.contract.sfreq,
        unit=model_class.contract.unit,
        losses=", ".join(f"{term.removeprefix('valid_')} {last[term]:.3f}" for term in bars),
        n_seeds=" and ".join(str(n) for n in table.groupby("kind")["seed"].nunique()),
        pretrained_layer=chosen["pretrained"],
        random_layer=chosen["random"],
        probes="\n".join(lines),
        seed=seed,
        fingerprint=fingerprint(model),
    )
    (HERE / name / "README.md").write_text(card, encoding="utf-8")


if __name__ == "__main__":
    main()
