"""The loop: a step is a function of its number, so that nothing is lost by a kill or changed by processes."""

import json
import os
import signal
import socket
import subprocess
import sys
import time
from pathlib import Path

import numpy as np
import pandas as pd
import pytest
import torch
from pretraining_stubs import BUILDERS, TinyObjective, tiny_objective, tiny_windows
from safetensors.torch import load_file

from eeglab_models.files import locked
from eeglab_models.models.eegdino import EEGDINO
from eeglab_models.pretraining.objective import Objective
from eeglab_models.training import checkpoints
from eeglab_models.training.batches import batch_numbers
from eeglab_models.training.checkpoints import find_checkpoints, latest_checkpoint, save_checkpoint
from eeglab_models.training.curves import Curves
from eeglab_models.training.pretraining import pretrain
from eeglab_models.training.settings import Settings

NARROW = {
    "n_layer": 2,
    "nhead": 2,
    "dim_feedforward": 8,
    "channels_kernel_stride_padding_norm": ((2, 49, 25, 24, (1, 2)),),
}
# Without a larger eps, AdamW makes steps of full length out of rounding errors.
TOGETHER = {"n_steps": 4, "batch_size": 8, "lr": 0.01, "eps": 1e-3, "figure_every": None, "cpu": True}
RISE = {"schedule": "warmup_cosine", "peak": 0.02, "share": 0.2}
DECAY = {"schedule": "cosine", "start": 0.04, "end": 0.4}


def settings(**changes):
    values = {
        "n_steps": 12,
        "batch_size": 8,
        "lr": RISE,
        "weight_decay": DECAY,
        "max_grad_norm": 0.5,
        "checkpoint_every": 5,
        "figure_every": None,
        "validate_every": 1000,
        "cpu": True,
    }
    return Settings(**values | changes)


@pytest.fixture
def train(tmp_path):
    """Train the tiny objective, or one that is given."""

    def run(name="run", objective=None, data=None, **changes):
        given = {key: changes.pop(key) for key in ("validation", "on_step") if key in changes}
        objective = tiny_objective() if objective is None else objective
        data = tiny_windows() if data is None else data
        pretrain(objective, data, settings(**changes), tmp_path / name, progress=False, **given)
        return objective.state_dict()

    return run


def start_process(folder, request, **environment):
    script = Path(__file__).with_name("pretraining_process.py")
    folder.mkdir(exist_ok=True)
    return subprocess.Popen(
        [sys.executable, script, folder, json.dumps(request)],
        env=os.environ | {"OMP_NUM_THREADS": "1"} | environment,
        stdout=subprocess.PIPE,
        stderr=subprocess.STDOUT,
        text=True,
    )


def assert_same(found, expected, **tolerance):
    torch.testing.assert_close(dict(found), dict(expected), **({"rtol": 0, "atol": 0} | tolerance))


def stop_after(step):
    def on_step(row):
        if row["step"] == step:
            raise KeyboardInterrupt

    return on_step


def test_training_lowers_the_loss_and_writes_what_it_did(train, tmp_path):
    train(n_steps=60, figure_every=50, validation=tiny_windows(20, seed=9), validate_every=20)
    table = pd.read_csv(tmp_path / "run" / "metrics.csv")

    assert len(table) == 60
    assert table["loss"].iloc[-5:].mean() < 0.5 * table["loss"].iloc[:5].mean()
    assert list(table["step"][table["valid_loss"].notna()]) == [20, 40, 60]
    assert {"lr", "weight_decay", "grad_norm", "windows_per_second", "memory_mb", "seconds"} <= set(table)
    assert (tmp_path / "run" / "progress.png").stat().st_size > 5000
    assert sorted(path.name for path in (tmp_path / "run" / "checkpoints").iterdir()) == [
        "step-000000055",
        "step-000000060",
    ]


def test_a_killed_training_ends_with_the_same_weights_bit_for_bit(train, tmp_path):
    changes = {"n_steps": 120, "checkpoint_every": 7}
    expected = train("whole", **changes)
    request = {"objectives": {"tiny": {}}, "settings": vars(settings(**changes)), "pause": 0.05}
    table = tmp_path / "tiny" / "metrics.csv"
    with start_process(tmp_path, request) as process:
        end = time.monotonic() + 60
        while not (table.is_file() and table.read_text().count("\n") > 30):
            assert process.poll() is None, process.communicate()[0]
            assert time.monotonic() < end
            time.sleep(0.01)
        os.kill(process.pid, signal.SIGKILL)
        assert process.wait() == -signal.SIGKILL
    assert table.read_text().count("\n") < 100
    resumed = train("tiny", **changes)

    assert_same(resumed, expected)
    rows = pd.read_csv(table)
    assert list(rows["step"]) == list(range(1, 121))
    pd.testing.assert_series_equal(rows["loss"], pd.read_csv(tmp_path / "whole" / "metrics.csv")["loss"])


@pytest.mark.parametrize("step", [3, 5, 9])
def test_training_resumes_from_any_step_with_the_same_weights(train, step):
    expected = train("whole")
    with pytest.raises(KeyboardInterrupt):
        train("stopped", on_step=stop_after(step))

    assert_same(train("stopped"), expected)


def test_a_finished_training_is_not_repeated(train, tmp_path):
    expected = train()
    steps = []

    assert_same(train(on_step=steps.append), expected)
    assert steps == []


def test_a_checkpoint_that_was_not_finished_is_ignored(train, tmp_path):
    expected = train("whole")
    with pytest.raises(KeyboardInterrupt):
        train("stopped", on_step=stop_after(7))
    unfinished = tmp_path / "stopped" / "checkpoints" / ".unfinished-000000010"
    unfinished.mkdir()
    (unfinished / "state.safetensors").write_bytes(b"half")

    assert_same(train("stopped"), expected)
    assert not unfinished.exists()


def test_a_checkpoint_has_its_name_only_once_it_is_whole(tmp_path, monkeypatch):
    expected = {"weight": torch.arange(3.0)}
    save_checkpoint(tmp_path, 1, expected, {}, n_kept=1)
    named = []

    def stop_half_way(tensors, path):
        path.write_bytes(b"half")
        named.extend(found.name for found in find_checkpoints(tmp_path))
        raise KeyboardInterrupt

    monkeypatch.setattr(checkpoints, "save_file", stop_half_way)
    with pytest.raises(KeyboardInterrupt):
        save_checkpoint(tmp_path, 2, {"weight": torch.zeros(3)}, {}, n_kept=1)

    # The older one is there until the newer one is.
    assert named == ["step-000000001"]
    assert_same(latest_checkpoint(tmp_path).tensors, expected)


def flip_a_bit(path):
    content = bytearray(path.read_bytes())
    content[-1] ^= 1
    path.write_bytes(content)


DAMAGE = {
    "half": lambda folder: (folder / "state.safetensors").write_bytes(b"half"),
    "one bit": lambda folder: flip_a_bit(folder / "state.safetensors"),
    "no facts": lambda folder: (folder / "checkpoint.json").unlink(),
    "a list": lambda folder: (folder / "checkpoint.json").write_text("[]"),
    "another step": lambda folder: (folder / "checkpoint.json").write_text(
        (folder / "checkpoint.json").read_text().replace('"step": 6', '"step": 5')
    ),
}


@pytest.mark.parametrize("damage", DAMAGE)
def test_a_damaged_checkpoint_is_skipped_and_told(train, tmp_path, damage):
    expected = train("whole", checkpoint_every=3)
    with pytest.raises(KeyboardInterrupt):
        train("stopped", on_step=stop_after(8), checkpoint_every=3)
    latest = max((tmp_path / "stopped" / "checkpoints").iterdir())
    DAMAGE[damage](latest)
    with pytest.warns(UserWarning, match="step-000000006 is damaged"):
        resumed = train("stopped", checkpoint_every=3)

    assert_same(resumed, expected)


def test_a_loss_that_is_not_finite_is_found_when_numbers_are_read(train, tmp_path):
    with pytest.raises(ValueError, match="loss of step 7 is nan"):
        train(objective=tiny_objective(bad_step=7), log_every=5)
    (checkpoint,) = (tmp_path / "run" / "checkpoints").iterdir()

    assert checkpoint.name == "step-000000005"


def test_a_folder_has_one_writer(train, tmp_path):
    with locked(tmp_path / "run", "train"), pytest.raises(BlockingIOError, match="holds .* to train"):
        train()


@pytest.mark.parametrize("content", [b"step,loss\n1,x\n", b"step\n1,2\n", b"step\ninf\n", b"\xff\n"])
def test_a_table_of_losses_that_is_damaged_is_named(tmp_path, content):
    (tmp_path / "metrics.csv").write_bytes(content)

    with pytest.raises(ValueError, match=r"metrics\.csv is no table of numbers"):
        Curves(tmp_path, 3, {})


def test_a_line_that_was_cut_off_is_dropped(train, tmp_path):
    with pytest.raises(KeyboardInterrupt):
        train(on_step=stop_after(5))
    with (tmp_path / "run" / "metrics.csv").open("a") as file:
        file.write("1")
    train()

    assert list(pd.read_csv(tmp_path / "run" / "metrics.csv")["step"]) == list(range(1, 13))


@pytest.mark.parametrize(
    ("changes", "message"),
    [
        ({"lr": 0.01}, "holds a training with settings.lr={'schedule': 'warmup_cosine'.*got 0.01"),
        ({"n_steps": 20}, "settings.n_steps=12, got 20"),
        ({"data": tiny_windows(39)}, "data.n_windows=40, got 39"),
        ({"data": tiny_windows(seed=6)}, "with data.windows="),
        ({"data": torch.cat([tiny_windows()[:1], tiny_windows(39, seed=6)])}, "with data.windows="),
        ({"objective": TinyObjective(still=True)}, "with objective.still=False, got True"),
    ],
)
def test_other_settings_are_refused(train, changes, message):
    train()

    with pytest.raises(ValueError, match=message):
        train(**changes)


def test_settings_that_change_no_weights_may_differ(train):
    expected = train("whole", validation=tiny_windows(20, seed=9))
    with pytest.raises(KeyboardInterrupt):
        train("stopped", on_step=stop_after(7))

    assert_same(train("stopped", log_every=5, validate_every=2, checkpoint_every=1), expected)


def test_another_objective_is_refused(train):
    class Wider(TinyObjective):
        def __init__(self):
            super().__init__()
            self.unused = torch.nn.Linear(3, 2)

    train()

    with pytest.raises(ValueError, match="1 tensors differ, as unused.weight"):
        train(objective=Wider())


def test_looking_at_held_out_windows_changes_nothing(train):
    assert_same(train("with", validation=tiny_windows(20, seed=9), validate_every=1), train("without"))


def test_held_out_windows_are_looked_at_with_the_same_draws(train, tmp_path):
    train(
        objective=tiny_objective(still=True),
        validation=tiny_windows(20, seed=9),
        validate_every=1,
        # Nothing that single precision could see.
        lr=1e-30,
        weight_decay=0.0,
    )
    table = pd.read_csv(tmp_path / "run" / "metrics.csv")

    assert table["valid_loss"].nunique() == 1
    assert table["loss"].nunique() == len(table)


def test_a_loss_that_is_not_finite_stops_before_it_spoils_anything(train, tmp_path):
    expected = train("whole", n_steps=12)
    with pytest.raises(ValueError, match="loss of step 8 is nan. Lower lr"):
        train("broken", objective=tiny_objective(bad_step=8))
    (checkpoint,) = (tmp_path / "broken" / "checkpoints").iterdir()

    assert checkpoint.name == "step-000000005"
    assert_same(train("broken"), expected)


@pytest.mark.parametrize("n_parts", [2, 8])
def test_a_batch_in_parts_gives_the_weights_of_the_whole(train, n_parts):
    quiet = {"drop_prob": 0.0, "still": True}
    whole = train("whole", objective=tiny_objective(**quiet))
    parts = train("parts", objective=tiny_objective(**quiet), n_parts=n_parts)

    assert_same(parts, whole, rtol=0, atol=1e-5)


def test_biases_do_not_decay(train):
    objective = tiny_objective(still=True)
    before = {name: value.clone() for name, value in objective.state_dict().items()}
    weights = list(objective.encoder.parameters())
    objective.forward = lambda windows, drawn: {"loss": sum((value * 0).sum() for value in weights)}
    after = train(objective=objective, lr=0.1, weight_decay=0.5, n_steps=1)

    assert torch.equal(after["encoder.0.bias"], before["encoder.0.bias"])
    torch.testing.assert_close(after["encoder.0.weight"], before["encoder.0.weight"] * 0.95)


def test_every_step_draws_anew(train):
    objective = tiny_objective()
    draw, masks = objective.draw, []

    def remember(windows, generator):
        drawn = draw(windows, generator)
        masks.append(drawn["own"].numpy().tobytes())
        return drawn

    objective.draw = remember
    train(objective=objective)

    assert len(set(masks)) == len(masks) == 12


def test_the_objective_starts_once_with_the_first_batch(train):
    first, second = tiny_objective(), tiny_objective()
    with pytest.raises(KeyboardInterrupt):
        train(objective=first, on_step=stop_after(5), checkpoint_every=1)
    train(objective=second)

    assert torch.equal(first.started_with, tiny_windows()[batch_numbers(40, 8, seed=0, step=0)])
    assert second.started_with is None


@pytest.fixture(scope="module")
def together(tmp_path_factory):
    """Train every objective by two processes, each with half of the batch."""
    folder = tmp_path_factory.mktemp("together")
    objectives = {name: {} for name in BUILDERS} | {"tiny": {"drop_prob": 0.0}}
    request = {"objectives": objectives, "settings": TOGETHER}
    with socket.socket() as free:
        free.bind(("127.0.0.1", 0))
        port = free.getsockname()[1]
    ranks = {"WORLD_SIZE": "2", "MASTER_ADDR": "127.0.0.1", "MASTER_PORT": str(port)}
    processes = [start_process(folder, request, RANK=rank, LOCAL_RANK=rank, **ranks) for rank in ("0", "1")]
    for process in processes:
        output = process.communicate(timeout=120)[0]
        assert process.returncode == 0, output
    return folder


@pytest.mark.parametrize("name", BUILDERS)
def test_two_processes_train_as_one_with_the_whole_batch(together, tmp_path, name):
    objective, windows = BUILDERS[name](**({"drop_prob": 0.0} if name == "tiny" else {}))
    pretrain(objective, windows, Settings(**TOGETHER), tmp_path, progress=False)
    first, second = (load_file(together / name / f"final-{rank}.safetensors") for rank in (0, 1))

    assert_same(second, first)
    assert_same(first, objective.state_dict(), rtol=0, atol=1e-5)
    tables = [pd.read_csv(folder / "metrics.csv") for folder in (together / name, tmp_path)]
    losses = [table["loss"].to_numpy() for table in tables]
    np.testing.assert_allclose(*losses, rtol=1e-5)


@pytest.mark.parametrize("name", BUILDERS)
def test_every_objective_keeps_what_the_loop_asks_for(name):
    objective = BUILDERS[name]()[0]

    assert isinstance(objective, Objective)
    assert type(objective).draw is not Objective.draw
    assert type(objective).forward is not Objective.forward


def test_an_epoch_shows_every_window_once_and_the_next_in_another_order():
    epochs = [
        [number for step in range(5) for number in batch_numbers(40, 8, 0, epoch * 5 + step)]
        for epoch in range(3)
    ]

    assert all(sorted(epoch) == list(range(40)) for epoch in epochs)
    assert epochs[0] != epochs[1] != epochs[2]


def test_windows_that_fill_no_batch_differ_from_epoch_to_epoch():
    seen = [
        {number for step in range(4) for number in batch_numbers(43, 10, 0, epoch * 4 + step)}
        for epoch in range(2)
    ]

    assert [len(numbers) for numbers in seen] == [40, 40]
    assert seen[0] != seen[1]


def test_the_callers_random_numbers_are_left_alone(train):
    torch.manual_seed(7)
    expected = torch.rand(3)
    objective = tiny_objective()
    torch.manual_seed(7)
    train(objective=objective)

    assert torch.equal(torch.rand(3), expected)


def test_windows_are_read_ahead_by_other_processes(train):
    assert_same(train("ahead", n_workers=1, n_steps=3), train("here", n_steps=3))


def test_half_precision_trains(train, tmp_path):
    train(precision="bfloat16")

    assert np.isfinite(pd.read_csv(tmp_path / "run" / "metrics.csv")["loss"]).all()


def test_the_encoder_of_a_model_is_saved_ready_for_use(train, tmp_path):
    objective = tiny_objective()
    objective.encoder = EEGDINO(n_outputs=2, n_chans=3, n_times=200, **NARROW)
    weight = objective.encoder.patch_embedding.channel_embedding.weight
    objective.forward = lambda windows, drawn: {"loss": weight.square().mean()}
    objective.update = lambda progress: None
    train(objective=objective, n_steps=2)
    encoder = EEGDINO.from_pretrained(tmp_path / "run" / "encoder")

    assert torch.equal(encoder.patch_embedding.channel_embedding.weight, weight)
    assert not objective.training


def test_an_encoder_that_could_not_be_saved_whole_is_not_taken_for_one(train, tmp_path):
    class Broken(TinyObjective):
        def save_pretrained(self, folder):
            folder.mkdir(parents=True, exist_ok=True)
            (folder / "config.json").write_text("{}")
            raise OSError("No space left on device")

    with pytest.raises(OSError, match="No space"):
        train(objective=Broken(), n_steps=1)

    assert not (tmp_path / "run" / "encoder").exists()


@pytest.mark.parametrize(
    ("changes", "message"),
    [
        ({"batch_size": 41}, "A batch needs 41 windows, got 40 in all. Lower batch_size to 40"),
        ({"n_parts": 3}, "batch_size=8 cannot be divided among 1 processes with n_parts=3"),
        ({"n_steps": 0}, "n_steps of Settings should be greater than or equal to 1, got 0"),
        ({"seed": -1}, "seed of Settings should be greater than or equal to 0"),
        ({"max_grad_norm": 0.0}, "max_grad_norm of Settings should be greater than 0, got 0"),
        ({"lr": -1e-3}, "lr of Settings should be greater than 0 or 'name: value' pairs, got -0.001"),
        ({"lr": float("nan")}, "lr of Settings should be a finite number"),
        ({"weight_decay": -1.0}, "weight_decay of Settings should be greater than or equal to 0"),
        ({"beta1": 1.5}, "beta1 of Settings should be less than 1"),
        ({"beta2": 1.0}, "beta2 of Settings should be less than 1"),
        ({"lr": {"schedule": "warmup_cosine", "peak": 1.0, "share": 7.0}}, "share of the schedule .* to 1"),
        ({"lr": {"schedule": "linear", "start": 0.0, "end": -1.0}}, "end of the schedule 'linear' of lr"),
        ({"beta1": {"schedule": "linear", "start": 0.9, "end": 1.0}}, "should be less than 1, got 1.0"),
        ({"lr": {"schedule": "wramup_cosine", "peak": 1.0}}, "Did you mean 'warmup_cosine'"),
        ({"data": [1.0]}, "Pretraining reads Windows, a tensor or a Corpus, got list"),
    ],
)
def test_what_cannot_be_trained_is_refused(train, changes, message):
    with pytest.raises((ValueError, TypeError), match=message):
        train(**changes)
