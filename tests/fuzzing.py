"""Damage files at random and read them: each ends in an error that names the file, or in the right result.

Run as ``python tests/fuzzing.py SECONDS SEED``; prints what did not, and how often each kind was tried.
"""

import collections
import json
import random
import resource
import shutil
import signal
import sys
import tempfile
import time
import warnings
from pathlib import Path

import mne
import numpy as np
import pandas as pd
import torch
from references.cases import BRAIN, DINO, GPT
from safetensors.torch import load_file, save_file

from eeglab_models import EEGDINO, EEGPT, CodeBrain, FBLightConvNet
from eeglab_models.experiments.grid import read_grid
from eeglab_models.experiments.results import survey
from eeglab_models.features.embeddings import extract_features
from eeglab_models.files import write_json
from eeglab_models.models.report import fingerprint
from eeglab_models.pretraining.configuration import READY, read_configuration
from eeglab_models.pretraining.corpus.building import build_corpus
from eeglab_models.pretraining.corpus.reading import Corpus
from eeglab_models.signals.preparation import prepare
from eeglab_models.signals.windows import Windows
from eeglab_models.training.checkpoints import latest_checkpoint, save_checkpoint

SWEEPS = Path(__file__).parents[1] / "notebooks" / "sweeps"
LIGHT = {"n_outputs": 2, "n_chans": 3, "n_times": 500, "sfreq": 250.0, "n_filters_spat": 4, "heads": 2}
MODELS = [(CodeBrain, BRAIN), (EEGDINO, DINO), (EEGPT, GPT), (FBLightConvNet, LIGHT)]
VALUES = [None, True, False, -1, 0, 1, 2, 7, 1000, 2**31, 10**9, 10**40, -0.5, 1e-9, 0.3, 1e6, 1e300, ""]
VALUES += ["x", "\ud800", "torch.nn.GELU", "a.b", "1000s", ["x"] * 40, {}, {"a": 1}]
VALUES += [[], [1], [[]], [-1, 2], [10**9]]
LIMIT, BYTES = 10, 2_000_000_000


def change_value(draw, value):
    """Change one place in nested lists and mappings."""
    if isinstance(value, dict | list) and value and draw.random() < 0.8:
        value = value.copy()
        key = draw.choice(list(value) if isinstance(value, dict) else range(len(value)))
        if draw.random() < 0.15:
            del value[key]
        elif isinstance(value, dict) and draw.random() < 0.05:
            value[f"{key}_"] = value.pop(key)
        else:
            value[key] = change_value(draw, value[key])
        return value
    if isinstance(value, int | float) and draw.random() < 0.3:
        return value * draw.choice([-1, 2, 1000, 0.5])
    return draw.choice(VALUES)


def change_bytes(draw, content):
    """Cut a file, or write over, put in or take out a few bytes of its first thousand."""
    if draw.random() < 0.2:
        return content[: draw.randrange(len(content))]
    place = draw.randrange(min(len(content), 1000))
    new = draw.choice([b"", bytes([draw.randrange(256)]), b"[", b'"', b"0", b"9" * 9, b"\x00", b": &a [*a]"])
    return content[:place] + new + content[place + draw.randrange(3) :]


def change_text_file(draw, path):
    """Change a file of JSON in its values, or any file in its bytes."""
    if path.suffix == ".json" and draw.random() < 0.7:
        path.write_text(json.dumps(change_value(draw, json.loads(path.read_text()))))
    else:
        path.write_bytes(change_bytes(draw, path.read_bytes()))


def change_tensors(draw, path):
    """Spoil one tensor, or the head of the file."""
    if draw.random() < 0.4:
        path.write_bytes(change_bytes(draw, path.read_bytes()))
        return
    weights = load_file(path)
    # Another count of batches is another whole file.
    name = draw.choice(sorted(name for name in weights if not name.endswith("num_batches_tracked")))
    tensor = weights.pop(name)
    kinds = [torch.int8, torch.bool, torch.complex64, torch.float64, torch.int64]
    new = draw.choice([tensor.flatten()[:-1], tensor[None], *(tensor.to(kind) for kind in kinds), None])
    if new is None:
        new = torch.full_like(
            tensor, draw.choice([torch.nan, torch.inf]) if tensor.is_floating_point() else 99
        )
    elif new.dtype == torch.float64 or new.dtype == tensor.dtype == torch.int64:
        new = torch.full_like(new, 1e300) if new.is_floating_point() else new + 1
    save_file(weights | {name: new.clone().contiguous()}, path)


def make_targets(folder):
    """Make whole files of every kind: by name, what is changed how, how it is read, and what is right."""
    targets = {}
    for cls, arguments in MODELS:
        model = cls(**arguments).eval()
        own = folder / cls.__name__
        model.save_pretrained(own)
        right = fingerprint(model)

        def read(own, cls=cls, right=right):
            return fingerprint(cls.from_pretrained(own)) == right

        targets[f"{cls.__name__} configuration"] = (own, "config.json", change_text_file, read)
        targets[f"{cls.__name__} weights"] = (own, "model.safetensors", change_tensors, read)
    for kind, reader, paths in (
        ("sweep", read_grid, SWEEPS.glob("*.yaml")),
        ("pretraining", read_configuration, READY.glob("*.yaml")),
    ):
        for path in sorted(paths):
            own = folder / f"{kind} {path.stem}"
            own.mkdir()
            text = path.read_text()
            (own / "file.yaml").write_text(text.replace("../", f"{SWEEPS.parent}/"))
            targets[own.name] = (
                own,
                "file.yaml",
                change_text_file,
                lambda own, reader=reader: reader(own / "file.yaml") is not None,
            )
    return targets | make_data_targets(folder)


def make_data_targets(folder):
    """Make a corpus, cached features, results and checkpoints."""
    info = mne.create_info(["C3", "Cz", "C4"], 250.0, "eeg")
    noise = np.random.default_rng(0).normal(0, 20, (7, 3, 500)).astype(np.float32)
    windows = Windows(noise, info, metadata=pd.DataFrame({"subject": list("aabbbcd")}))
    small = FBLightConvNet(**LIGHT)
    prepared = prepare(windows, small)
    short = {"length": 2.0, "skip_start": 1.0, "skip_end": 1.0, "shortest": 0.0, "progress": False}
    names = {"ch_names": windows.ch_names, "shard_size": 3 * noise[0].nbytes}
    build_corpus(windows, folder / "corpus", FBLightConvNet, **short, **names)
    data = np.array(Corpus(folder / "corpus").__getitems__(range(7)))
    features = np.array(extract_features(small, prepared, cache=folder / "features"))
    name = next((folder / "features").glob("*.npy")).stem
    save_checkpoint(folder / "checkpoints", 3, {"w": torch.arange(9.0)}, {"lr": [0.1]}, n_kept=1)
    home = folder / "results" / "runs" / "a"
    for name_of_file in ("result.json", "parameters.json", "FAILED.json"):
        write_json(
            home / name_of_file, {"parameters": {"model": "EEGPT"}, "score": 0.5, "seconds": {"a": 1.0}}
        )
    (home / "DONE").touch()

    def read_checkpoint(own):
        found = latest_checkpoint(own)
        return found is None or (found.tensors["w"].tolist(), found.facts) == (list(range(9)), {"lr": [0.1]})

    def read_features(own):
        return np.allclose(features, extract_features(small, prepared, cache=own), atol=1e-5)

    def read_corpus(own):
        found = Corpus(own)
        return np.array_equal(np.array(found.__getitems__(range(7))), data) and found.sfreq == 250.0

    return {
        "corpus": (folder / "corpus", "corpus.json", change_text_file, read_corpus),
        "features": (folder / "features", f"{name}.npy", change_text_file, read_features),
        "facts of features": (folder / "features", f"{name}.json", change_text_file, read_features),
        "checkpoint": (
            folder / "checkpoints",
            "step-000000003/checkpoint.json",
            change_text_file,
            read_checkpoint,
        ),
        "tensors of a checkpoint": (
            folder / "checkpoints",
            "step-000000003/state.safetensors",
            change_tensors,
            read_checkpoint,
        ),
        "results": (
            folder / "results",
            "runs/a/result.json",
            change_text_file,
            lambda own: bool(survey(own)),
        ),
    }


def judge(read, own):
    """Read a folder, and say what is wrong with how that ended, or ""."""
    started = time.process_time()
    try:
        problem = "" if read(own) else "a wrong result"
    except (ValueError, OSError) as error:
        problem = "" if own.name in str(error) else f"the file is not named: {error!r}"
    # Whatever else comes is what is looked for.
    except BaseException as error:
        problem = f"{type(error).__name__}: {error}"
    seconds = time.process_time() - started
    return problem or (f"{seconds:.1f} s" if seconds > LIMIT else "")


def main(seconds, seed):
    """Try kinds of files in turn until the time is over; the number of faults."""
    warnings.simplefilter("ignore")
    torch.set_num_threads(1)
    draw, faults, tried = random.Random(seed), [], collections.Counter()
    signal.signal(signal.SIGPROF, lambda *_: (_ for _ in ()).throw(TimeoutError("hangs")))
    with tempfile.TemporaryDirectory() as beside:
        targets = make_targets(Path(beside))
        used = int(Path("/proc/self/statm").read_text().split()[5]) * resource.getpagesize()
        resource.setrlimit(resource.RLIMIT_DATA, (used + BYTES, used + BYTES))
        end = time.monotonic() + seconds
        while time.monotonic() < end:
            for kind, (own, name, change, read) in targets.items():
                copy = Path(beside) / "tried" / own.name
                shutil.copytree(own, copy)
                change(draw, copy / name)
                content = (copy / name).read_bytes()
                signal.setitimer(signal.ITIMER_PROF, 2 * LIMIT)
                problem = judge(read, copy)
                signal.setitimer(signal.ITIMER_PROF, 0)
                tried[kind] += 1
                if problem:
                    faults.append(problem)
                    print(f"{kind}: {problem[:400]}\n    {describe(own / name, content)}", flush=True)
                shutil.rmtree(copy)
    print(sum(tried.values()), "files,", len(faults), "faults;", dict(tried))
    return len(faults)


def describe(whole, content):
    """Say what was changed in a file."""
    try:
        before, after = (json.loads(text) for text in (whole.read_bytes(), content))
        return {key: after.get(key) for key in {**before, **after} if before.get(key) != after.get(key)}
    except (ValueError, AttributeError):
        return content[:200]


if __name__ == "__main__":
    sys.exit(min(main(float(sys.argv[1]), int(sys.argv[2])), 1))
