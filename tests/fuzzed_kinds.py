"""Whole files of every kind that the package reads, and what is right when they are read."""

import shutil
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path

import mne
import numpy as np
import pandas as pd
import torch
from experiment_stubs import write_grid, write_notebook
from pretraining_stubs import TOKENIZER
from references.cases import BRAIN, DINO, GPT
from safetensors.torch import load_file
from test_conversion import LAYOUTS, WRAPPERS, perturb, publish_codebrain

from eeglab_models import EEGDINO, EEGPT, CodeBrain, FBLightConvNet
from eeglab_models.experiments.grid import read_grid
from eeglab_models.experiments.results import survey
from eeglab_models.experiments.runs import Run, complete, write_row
from eeglab_models.features.embeddings import extract_features
from eeglab_models.features.readout import features_of
from eeglab_models.files import hash_file, write_json
from eeglab_models.models.conversion import convert_checkpoint
from eeglab_models.models.download import write_weights
from eeglab_models.models.report import fingerprint
from eeglab_models.pretraining.codebrain.tokenizer import TFDualTokenizer
from eeglab_models.pretraining.configuration import READY, read_configuration, record
from eeglab_models.pretraining.corpus.building import build_corpus
from eeglab_models.pretraining.corpus.reading import Corpus
from eeglab_models.signals.preparation import prepare
from eeglab_models.signals.shipped import read_recording, read_sums, recordings_folder
from eeglab_models.signals.windows import Windows
from eeglab_models.training.checkpoints import latest_checkpoint, save_checkpoint
from eeglab_models.training.curves import Curves
from eeglab_models.workshop import install, kit

SWEEPS = Path(__file__).parents[1] / "notebooks" / "sweeps"
LIGHT = {"n_outputs": 2, "n_chans": 3, "n_times": 500, "sfreq": 250.0, "n_filters_spat": 4, "heads": 2}
MODELS = [(CodeBrain, BRAIN), (EEGDINO, DINO), (EEGPT, GPT), (FBLightConvNet, LIGHT)]
CONFIG, WEIGHTS, INDEX = "config.json", "model.safetensors", "model.safetensors.index.json"


@dataclass
class Kind:
    """A folder, the files in it that are damaged, and whether what is read of it is right."""

    folder: Path
    files: tuple[str, ...]
    read: Callable[[Path], bool]


def make_kinds(folder):
    """Make whole files of every kind, by name."""
    torch.manual_seed(0)
    made = [make_models, make_published, make_checkpoints, make_configurations, make_data, make_results]
    return {name: kind for make in made for name, kind in make(folder).items()}


def loads(cls, model):
    """Whether a folder holds the encoder of a model."""
    right = fingerprint(model)
    return lambda own: fingerprint(cls.from_pretrained(own)) == right


def make_models(folder):
    """Save models: in one file, in several, and with the names of their authors."""
    kinds = {}
    for cls, arguments in MODELS:
        model, name = cls(**arguments).eval(), cls.__name__
        model.save_pretrained(folder / name)
        kinds[f"{name} configuration"] = Kind(folder / name, (CONFIG,), loads(cls, model))
        kinds[f"{name} weights"] = Kind(folder / name, (WEIGHTS, WEIGHTS, CONFIG), loads(cls, model))
    sharded = folder / "sharded"
    shutil.copytree(folder / name, sharded)
    weights, names = load_file(sharded / WEIGHTS), {}
    (sharded / WEIGHTS).unlink()
    for number in range(2):
        file = f"part{number}.safetensors"
        part = {key: weights[key] for key in sorted(weights)[number::2]}
        write_weights(sharded / file, part)
        names |= dict.fromkeys(part, file)
    write_json(sharded / INDEX, {"metadata": {"total_size": 1}, "weight_map": names})
    kinds["weights in several files"] = Kind(sharded, (INDEX, "part0.safetensors"), loads(cls, model))
    brain, own = perturb(CodeBrain(**BRAIN)), folder / "authors"
    brain.save_pretrained(own)
    bare = {key: value.clone() for key, value in publish_codebrain(brain).items() if "kernel_norm" not in key}
    write_weights(own / WEIGHTS, bare)
    kinds["weights without norms of filters"] = Kind(
        own, (WEIGHTS,), loads(CodeBrain, CodeBrain.from_pretrained(own))
    )
    tokenizer = TFDualTokenizer(**TOKENIZER)
    tokenizer.save_pretrained(folder / "tokenizer")
    state = tokenizer.state_dict()
    kinds["tokenizer"] = Kind(
        folder / "tokenizer",
        (CONFIG, WEIGHTS),
        lambda own: all(
            torch.equal(value, state[key])
            for key, value in TFDualTokenizer.from_pretrained(own).state_dict().items()
        ),
    )
    return kinds


def make_published(folder):
    """Save models as their authors did, in wrappers."""
    kinds = {}
    for layout, wrapper in zip(LAYOUTS, ["compiled", None, None, "lightning", "backbone"], strict=True):
        model = perturb(layout.model(**layout.arguments))
        state, own = layout.publish(model), folder / f"published-{layout.name}"
        state = state if wrapper is None else WRAPPERS[wrapper](state.get("model", state))
        own.mkdir()
        torch.save(state, own / f"file{layout.suffix}")

        right = fingerprint(model)

        def read(own, layout=layout, right=right):
            file = own / f"file{layout.suffix}"
            return convert_checkpoint(file, own / "out", config=layout.config).fingerprint == right

        kinds[f"checkpoint of {layout.name}'s authors"] = Kind(own, (f"file{layout.suffix}",), read)
    return kinds


def make_checkpoints(folder):
    """Save checkpoints of a training."""
    for step in (2, 3):
        save_checkpoint(folder / "training", step, {"w": torch.arange(9.0) * step}, {"lr": [0.1]}, n_kept=2)

    def read(own):
        found = latest_checkpoint(own)
        if found is None:
            return True
        right = [0.0 + number * found.step for number in range(9)]
        return found.step in (2, 3) and (found.tensors["w"].tolist(), found.facts) == (right, {"lr": [0.1]})

    files = [
        f"step-00000000{step}/{file}" for step in (2, 3) for file in ("checkpoint.json", "state.safetensors")
    ]
    curves = Curves(folder / "training", 0, {})
    for step in (1, 2, 3):
        curves.add({"step": step, "loss": 0.5 * step})

    def read_curves(own):
        return all(isinstance(row["step"], int) for row in Curves(own, 3, {}).rows)

    return {
        "curves of a training": Kind(folder / "training", ("metrics.csv",), read_curves),
        "checkpoints of a training": Kind(folder / "training", (*files[2:], *files), read),
    }


def make_configurations(folder):
    """Copy sweeps and configurations of pretraining."""
    kinds = {}
    for name, reader, paths in (
        ("sweep", read_grid, SWEEPS.glob("*.yaml")),
        ("pretraining", read_configuration, READY.glob("*.yaml")),
    ):
        for path in sorted(paths):
            own = folder / f"{name} {path.stem}"
            own.mkdir()
            (own / "file.yaml").write_text(path.read_text().replace("../", f"{SWEEPS.parent}/"))
            kinds[own.name] = Kind(
                own, ("file.yaml",), lambda own, reader=reader: reader(own / "file.yaml") is not None
            )
    (folder / "grid").mkdir()
    write_notebook(folder / "grid")
    write_grid(folder / "grid", "grid: {number: [1, 2]}")
    kinds["notebook of a sweep"] = Kind(
        folder / "grid", ("stub.ipynb", "grid.yaml"), lambda own: len(read_grid(own / "grid.yaml").runs) > 0
    )
    configuration, own = read_configuration(path), folder / "record"
    own.mkdir()
    record(configuration, own)
    kinds["record of a pretraining"] = Kind(
        own, ("configuration.json",), lambda own: record(configuration, own) is None
    )
    return kinds


def make_data(folder):
    """Make a corpus, cached features, a recommended readout, a recording and a kit."""
    info = mne.create_info(["C3", "Cz", "C4"], 250.0, "eeg")
    noise = np.random.default_rng(0).normal(0, 20, (7, 3, 500)).astype(np.float32)
    windows = Windows(noise, info, metadata=pd.DataFrame({"subject": list("aabbbcd")}))
    small = FBLightConvNet(**LIGHT)
    prepared = prepare(windows, small)
    short = {"length": 2.0, "skip_start": 1.0, "skip_end": 1.0, "shortest": 0.0, "progress": False}
    names = {"ch_names": windows.ch_names, "shard_size": 3 * noise[0].nbytes}
    build_corpus(windows, folder / "corpus", FBLightConvNet, **short, **names)
    whole = Corpus(folder / "corpus")
    data, metadata = np.array(whole.__getitems__(range(7))), whole.metadata
    features = np.array(extract_features(small, prepared, cache=folder / "features"))
    (name,) = (path.stem for path in (folder / "features").glob("*.npy"))

    def read_corpus(own):
        found = Corpus(own, check=True)
        same = np.array_equal(np.array(found.__getitems__(range(7))), data) and found.sfreq == 250.0
        return same and found.stamp == whole.stamp and found.metadata.equals(metadata)

    def read_features(own):
        return np.allclose(features, extract_features(small, prepared, cache=own), atol=1e-5)

    readout = {
        "model": "FBLightConvNet",
        "band": {"fmin": 4.0, "fmax": 40.0},
        "level": 10.0,
        "layer": "encoder",
    }
    small.save_pretrained(folder / "readout")
    write_json(folder / "readout" / "readout.json", readout | {"pool": "mean"})
    n_features = features_of(folder / "readout", windows)[0].shape[1]

    def read_readout(own):
        read = features_of(own, windows)[0]
        return len(read) == 7 and read.shape[1] % n_features == 0 and bool(np.isfinite(read).all())

    (folder / "recordings").mkdir()
    recording = shutil.copy(recordings_folder() / "Subject18_1.edf", folder / "recordings")
    (folder / "recordings" / "SHA256SUMS").write_text(f"{hash_file(recording)}  Subject18_1.edf\n")

    def read_edf(own):
        read_sums.cache_clear()
        return read_recording(own / "Subject18_1.edf", 50.0).n_times == 12000

    kit.prefetch(folder / "kit", datasets=["SimulatedMotorImagery:1"])
    scripts = ("activate.sh", "activate.bat")
    texts = [(folder / "kit" / script).read_bytes() for script in scripts]

    def read_kit(own):
        return bool(install.check(own)) or texts == [(own / script).read_bytes() for script in scripts]

    shards = sorted(path.name for path in (folder / "corpus").glob("*.arrow"))
    return {
        "corpus": Kind(folder / "corpus", ("corpus.json", *shards), read_corpus),
        "features": Kind(folder / "features", (f"{name}.npy", f"{name}.json"), read_features),
        "readout": Kind(folder / "readout", ("readout.json",), read_readout),
        "recording": Kind(folder / "recordings", ("SHA256SUMS", "Subject18_1.edf"), read_edf),
        "kit": Kind(folder / "kit", ("manifest.json", *scripts), read_kit),
    }


def make_results(folder):
    """Complete two runs of a sweep and let one fail."""
    results = folder / "results"
    for score in (0.5, 0.75):
        run = Run(SWEEPS.parent / "experiment.ipynb", {"model": "EEGPT", "seed": round(4 * score)}, "test")
        home, work = run.home(results), folder / "work"
        write_json(home / "parameters.json", {"parameters": run.parameters, "code_version": "test"})
        (home / "attempts.log").write_text("{}\n")
        write_row(work, run.parameters, score=score, seconds={"fit": 1.0}, scores=[score])
        complete(run, home, work, 1.0)
    right = survey(results)[0].set_index("id")["score"].to_dict()

    def read(own):
        found, state = survey(own)
        return found.set_index("id")["score"].to_dict().items() <= right.items() and state.n_done == len(
            found
        )

    files = [f"{path.relative_to(results)}" for path in sorted(results.rglob("*")) if path.is_file()]
    return {"results": Kind(results, tuple(files), read)}
