"""Killed at any moment, again and again: what is there afterwards is whole, and what comes out is the same.

``KILLS=20 python -m pytest tests/test_kills.py -s`` kills every kind of work so often, sweeps and their
workers half as often: 160 times in all. CI kills each twice, and no sweep.
"""

import contextlib
import json
import os
import random
import shutil
import signal
import subprocess
import sys
import time
from pathlib import Path

import mne
import numpy as np
import pandas as pd
import psutil
import pytest
import torch
from experiment_stubs import write_grid, write_notebook
from pretraining_stubs import tiny_objective, tiny_windows
from small_wheels import make_index, make_repository, use_index

from eeglab_models import FBLightConvNet
from eeglab_models.features import extract_features
from eeglab_models.finetuning import FineTuner
from eeglab_models.pretraining.corpus.building import build_corpus
from eeglab_models.pretraining.corpus.reading import Corpus
from eeglab_models.signals.preparation import prepare
from eeglab_models.signals.windows import Windows
from eeglab_models.training.pretraining import pretrain
from eeglab_models.training.settings import Settings
from eeglab_models.workshop import install, kit

KILLS = int(os.environ.get("KILLS", "2"))
CHANNELS = ["Fz", "C3", "Cz", "C4", "Pz"]


def make_model(n_chans=3, seed=0):
    torch.manual_seed(seed)
    sizes = {"n_filters_spat": 8, "heads": 2, "win_len": 100, "n_bands": 2}
    return FBLightConvNet(n_outputs=2, n_chans=n_chans, n_times=500, sfreq=250.0, **sizes)


def make_windows():
    data = 20 * np.random.default_rng(0).normal(size=(24, 5, 500)).astype(np.float32)
    info = mne.create_info(CHANNELS, 250.0, "eeg")
    return Windows(data, info, metadata=pd.DataFrame({"subject": list("abcdef") * 4}))


def state_of(module):
    return {name: tensor.numpy().copy() for name, tensor in module.state_dict().items()}


def pretraining(folder):
    objective = tiny_objective()
    settings = Settings(
        n_steps=40, batch_size=8, lr=0.01, checkpoint_every=5, figure_every=None, cpu=True, seed=1
    )
    pretrain(objective, tiny_windows(), settings, folder, progress=False)
    losses = pd.read_csv(folder / "metrics.csv")
    return state_of(objective) | {"losses": losses["loss"].to_numpy(), "steps": losses["step"].to_numpy()}


def finetuning(folder):
    data = np.random.default_rng(0).normal(0, 20, (16, 3, 500)).astype(np.float32)
    settings = {"max_epochs": 4, "batch_size": 8, "device": "cpu", "regime": "full"}
    tuner = FineTuner(make_model(), checkpoint=folder, **settings).fit(data, np.tile([0, 1], 8))
    return state_of(tuner.model_)


def cache(folder):
    model = make_model(5)
    prepared = prepare(make_windows(), model)
    return {"features": np.array(extract_features(model, prepared, cache=folder, device="cpu"))}


def corpus(folder):
    options = {"length": 2.0, "skip_start": 0.0, "skip_end": 0.0, "shortest": 0.0, "progress": False}
    windows = make_windows()
    options |= {"ch_names": CHANNELS, "amplitude": None, "shard_size": 2 * windows.data[0].nbytes}
    build_corpus(windows, folder, FBLightConvNet, **options)
    built = Corpus(folder, check=True)
    return {"windows": built.__getitems__(range(len(built))).numpy()}


class Recordings:
    """A data set whose files arrive in pieces."""

    subject_list = (1, 2, 3)

    def get_data(self, subjects):
        path = Path(os.environ["MNE_DATA"]) / f"MNE-own-data/subject{subjects[0]}.edf"
        path.parent.mkdir(exist_ok=True)
        with path.open("wb") as file:
            for _ in range(3):
                file.write(bytes(subjects) * 1000)
                file.flush()
                time.sleep(0.02)


def recordings(folder):
    """Fill a kit with recordings."""
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(kit, "find_dataset", lambda name: Recordings())
        kit.prefetch(folder, datasets=["Own"])
    return hashes_of(folder)


def wheels(folder):
    """Fill a kit with a repository and wheels."""
    index, clone = folder.with_name("index"), folder.with_name("clone")
    if not index.exists():
        make_index(index)
        make_repository(clone)
    with pytest.MonkeyPatch.context() as patch:
        use_index(patch, index)
        patch.setattr(kit, "ROOT", clone)
        kit.prefetch(folder, workshop=True)
    return hashes_of(folder)


def hashes_of(folder):
    """Read the hashes of a kit that is whole: each file once, whichever item it came with."""
    assert install.check(folder) == []
    items = json.loads((folder / "manifest.json").read_text())["items"]
    return {file: facts["sha256"] for item in items for file, facts in item["files"].items()}


def saving(folder):
    """Save one model over the other."""
    make_model(seed=2 - state_number(folder)).save_pretrained(folder)
    return {"whole": state_number(folder) in (1, 2)}


def state_number(folder):
    """Tell which of two models lies in a folder, 1 before one was saved: a mixture would be neither."""
    if not (folder / "config.json").is_file():
        return 1
    loaded = state_of(FBLightConvNet.from_pretrained(folder))
    found = [seed for seed in (0, 1) if same(loaded, state_of(make_model(seed=seed)))]
    assert len(found) == 1
    return found[0] + 1


def same(one, other):
    return one.keys() == other.keys() and all(np.array_equal(one[name], other[name]) for name in one)


def kill_somewhere(work, folder, seconds):
    """Start a work in a process of its own, and kill it at a random moment; tell whether it ran still."""
    child = os.fork()
    if child == 0:
        status = 1
        try:
            work(folder)
            status = 0
        finally:
            os._exit(status)
    time.sleep(random.uniform(0, seconds))
    os.kill(child, signal.SIGKILL)
    code = os.waitstatus_to_exitcode(os.waitpid(child, 0)[1])
    assert code in (0, -signal.SIGKILL)
    return code != 0


@pytest.mark.parametrize("work", [pretraining, finetuning, cache, corpus, recordings, wheels, saving])
@pytest.mark.filterwarnings("ignore")
def test_work_that_is_killed_at_any_moment_ends_as_if_it_were_not(work, tmp_path):
    expected = work(tmp_path / "first")
    start = time.monotonic()
    work(tmp_path / "second")
    seconds = time.monotonic() - start

    n_kills = 0
    folder = tmp_path / "killed"
    while n_kills < KILLS:
        if kill_somewhere(work, folder, seconds):
            n_kills += 1
        else:
            assert same(work(folder), expected)
            shutil.rmtree(folder)
    assert same(work(folder), expected)
    assert work not in (cache, corpus, saving) or not list(folder.rglob(".unfinished-*"))
    print(f"{work.__name__}: {n_kills} kills")


def workers_of(process):
    """Find the workers that a sweep has started and that run still."""
    with contextlib.suppress(psutil.Error):
        children = psutil.Process(process.pid).children(recursive=True)
        return [child for child in children if "spawn_main" in " ".join(child.cmdline())]
    return []


@pytest.mark.skipif("KILLS" not in os.environ, reason="tests of sweeps kill one at two chosen moments")
@pytest.mark.filterwarnings("ignore")
@pytest.mark.parametrize("victim", ["the sweep", "a worker"])
def test_a_sweep_that_is_killed_at_any_moment_loses_no_run(victim, tmp_path):
    write_notebook(tmp_path)
    write_grid(tmp_path, "fixed: {seconds: 0.5}\ngrid: {number: [1, 2, 3, 4]}")
    command = [sys.executable, Path(__file__).with_name("sweep_process.py"), tmp_path, "2"]

    n_kills = 0
    while n_kills < max(1, KILLS // 2):
        process = subprocess.Popen(command, stdout=subprocess.PIPE, stderr=subprocess.PIPE)
        while process.poll() is None and n_kills < max(1, KILLS // 2):
            with contextlib.suppress(subprocess.TimeoutExpired):
                process.wait(random.uniform(3, 15))
            victims = [process] if victim == "the sweep" else workers_of(process)
            if victims and process.poll() is None:
                random.choice(victims).kill()
                n_kills += 1
        process.kill()
        process.communicate()
        if process.returncode == 0:
            shutil.rmtree(tmp_path / "out")
    counts = json.loads(subprocess.run(command, capture_output=True, text=True, timeout=600).stdout)

    rows = [json.loads(path.read_text())["number"] for path in tmp_path.glob("out/runs/*/result.json")]
    assert sorted(rows) == [1, 2, 3, 4]
    assert (counts["failed"], counts["remaining"]) == (0, 0)
    print(f"{victim}: {n_kills} kills")
