"""A configuration in YAML trains what it says, from the command line too, or is refused in one sentence."""

import subprocess
import sys

import pandas as pd
import pytest
import torch
from typer.testing import CliRunner

from eeglab_models.__main__ import app
from eeglab_models.models.eegpt import EEGPT, PatchNormEmbed
from eeglab_models.pretraining.configuration import read_configuration, ready_configurations
from eeglab_models.pretraining.corpus.data import JoinedWindows
from eeglab_models.signals.simulation import SimulatedMotorImagery
from eeglab_models.training.batches import TensorWindows

SMALL = """
objective: {name: MaskedAlignment, n_visible_channels: 2, momentum: [0.9, 1]}
encoder: {embed_dim: 8, depth: 1, num_heads: 2, embed_num: 1}
data:
  seconds: 2.0
  held_out: 1
  simulated: {n_subjects: 2, n_sessions: 1, n_runs: 1, n_trials_per_run: 4, ch_names: [C3, Cz, C4]}
training: {n_steps: 4, batch_size: 4, lr: 1e-3, checkpoint_every: 2, figure_every: null, cpu: true}
"""
TOKENIZER = """
objective: {name: TFDualTokenizer, embed_dim: 50, n_heads: 2, n_layers: 1, n_decoder_layers: 1, n_codes: 8}
data:
  seconds: 2.0
  simulated: {n_subjects: 1, n_sessions: 1, n_runs: 1, n_trials_per_run: 4, ch_names: [C3, Cz, C4]}
training: {n_steps: 2, batch_size: 8, figure_every: null, cpu: true}
"""
CODES = """
objective: {name: CodePrediction}
tokenizer: FOLDER
encoder: {num_res_layers: 1, codebook_size_t: 8, codebook_size_f: 8, mlp_hidden_multiplier: 1}
data:
  seconds: 2.0
  simulated: {n_subjects: 1, n_sessions: 1, n_runs: 1, n_trials_per_run: 4, ch_names: [C3, Cz, C4]}
training: {n_epochs: 1, batch_size: 8, figure_every: null, cpu: true}
"""


@pytest.fixture
def command(tmp_path):
    """Write a configuration and call the command with it."""

    def call(text=SMALL, name="own", folder="out", options=()):
        path = tmp_path / f"{name}.yaml"
        path.write_text(text)
        return CliRunner().invoke(app, ["pretrain", str(path), "--output", str(tmp_path / folder), *options])

    return call


@pytest.fixture
def read(tmp_path):
    """Read a configuration from text."""

    def parse(text):
        path = tmp_path / "own.yaml"
        path.write_text(text)
        return read_configuration(path)

    return parse


def test_the_command_trains_and_saves_an_encoder(command, tmp_path):
    result = command()
    encoder = EEGPT.from_pretrained(tmp_path / "out" / "encoder")

    assert result.exit_code == 0, result.output
    assert "MaskedAlignment: 4 steps, loss" in result.output
    assert "on held-out windows" in result.output
    assert encoder.n_times == 512
    assert [channel["ch_name"] for channel in encoder.chs_info] == ["C3", "Cz", "C4"]


def test_the_command_goes_on_where_it_was_and_refuses_another_configuration(command, tmp_path):
    command()
    table = tmp_path / "out" / "metrics.csv"
    before = table.read_text()

    again = command()
    changed = command(SMALL.replace("momentum: [0.9, 1]", "momentum: [0.8, 1]"))
    longer = command(options=["--steps", "6"])

    assert again.exit_code == 0
    assert table.read_text() == before
    assert changed.exit_code == longer.exit_code == 1
    assert (
        "holds a training with arguments.momentum=[0.9, 1.0], got [0.8, 1.0]. Pass the same" in changed.output
    )
    assert "training.n_steps=4, got 6" in longer.output


def test_what_was_trained_is_written_down_whole_and_a_part_of_it_is_said_to_be_one(command, tmp_path):
    command(options=["--steps", "2"])
    record = tmp_path / "out" / "configuration.json"
    text, written = record.read_text(), record.stat().st_mtime_ns
    assert command(options=["--steps", "2"]).exit_code == 0
    assert record.stat().st_mtime_ns == written

    record.write_text(text[:99])
    result = command(options=["--steps", "2"])

    assert result.exit_code == 1
    assert "configuration.json is not JSON: Unterminated string" in result.output
    assert "Correct it, or remove the file." in result.output


def test_the_number_of_steps_can_be_given_to_the_command(command, tmp_path):
    assert command(options=["--steps", "2"]).exit_code == 0
    assert len(pd.read_csv(tmp_path / "out" / "metrics.csv")) == 2


def test_the_second_stage_reads_the_tokenizer_of_the_first(command, tmp_path):
    first = command(TOKENIZER, "stage1", "stage1")
    second = command(CODES.replace("FOLDER", str(tmp_path / "stage1" / "encoder")), "stage2", "stage2")

    assert first.exit_code == 0, first.output
    assert second.exit_code == 0, second.output
    assert (tmp_path / "stage2" / "encoder" / "model.safetensors").is_file()


def test_recordings_become_a_corpus_that_can_be_used_again(command, tmp_path):
    dataset = SimulatedMotorImagery(2, 1, 1, 4, ch_names=["C3", "Cz", "C4"])
    for subject in (1, 2):
        dataset.simulate_run(subject).save(tmp_path / f"S{subject}_raw.fif", verbose="error")
    given = SMALL[: SMALL.index("  simulated")] + "  {source}\n" + SMALL[SMALL.index("training") :]
    rules = "amplitude: null, skip_start: 0, skip_end: 0, shortest: 0, subject: 'S([12])'"
    source = f"channels: [C4, Cz, C3]\n  recordings: {{source: {tmp_path}, {rules}}}"
    first = command(given.replace("{source}", source))
    second = command(given.replace("{source}", f"corpus: {tmp_path / 'out' / 'corpus'}"), folder="other")

    assert first.exit_code == 0, first.output
    assert second.exit_code == 0, second.output
    tables = [pd.read_csv(tmp_path / folder / "metrics.csv") for folder in ("out", "other")]
    assert tables[0]["valid_loss"].iloc[-1] == tables[1]["valid_loss"].iloc[-1]


def test_processes_without_a_gpu_build_a_corpus_once_and_train_together(tmp_path):
    dataset = SimulatedMotorImagery(1, 1, 1, 4, ch_names=["C3", "Cz", "C4"])
    dataset.simulate_run(1).save(tmp_path / "S1_raw.fif", verbose="error")
    rules = "amplitude: null, skip_start: 0, skip_end: 0, shortest: 0"
    source = f"  channels: [C4, Cz, C3]\n  recordings: {{source: {tmp_path}, {rules}}}\n"
    text = SMALL[: SMALL.index("  held_out")] + source + SMALL[SMALL.index("training") :]
    (tmp_path / "own.yaml").write_text(text.replace(", cpu: true", ""))
    command = [sys.executable, "-m", "torch.distributed.run", "--standalone", "--nproc_per_node", "2"]
    command += [
        "-m",
        "eeglab_models",
        "pretrain",
        str(tmp_path / "own.yaml"),
        "--output",
        str(tmp_path / "out"),
    ]
    done = subprocess.run(command, capture_output=True, text=True)

    assert done.returncode == 0, done.stdout + done.stderr
    assert len(pd.read_csv(tmp_path / "out" / "metrics.csv")) == 4


def test_the_same_seed_gives_the_same_start(read):
    first, second = (read(SMALL).build().state_dict() for _ in range(2))
    other = read(SMALL.replace("cpu: true", "cpu: true, seed: 1")).build().state_dict()

    torch.testing.assert_close(first, second, rtol=0, atol=0)
    assert any(not torch.equal(first[name], other[name]) for name in first)


def test_held_out_windows_are_those_of_other_subjects(read, tmp_path):
    configuration = read(SMALL)
    learn, held_out = configuration.data.load(EEGPT, tmp_path)
    alone, nobody = read(SMALL.replace("held_out: 1", "held_out: 0")).data.load(EEGPT, tmp_path)

    assert nobody is None
    assert torch.equal(alone.windows, torch.cat([learn.windows, held_out.windows]))
    assert len(learn) == len(held_out)


def test_numbers_with_exponents_are_numbers(read):
    configuration = read(SMALL.replace("lr: 1e-3", "lr: {schedule: warmup_cosine, peak: 2E-4, end: 1.e-6}"))

    assert configuration.training["lr"] == {"schedule": "warmup_cosine", "peak": 2e-4, "end": 1e-6}


def test_epochs_are_counted_in_steps(read):
    configuration = read(SMALL.replace("n_steps: 4", "n_epochs: 2.5"))

    assert configuration.settings(43).n_steps == 25


@pytest.mark.parametrize("name", ready_configurations())
def test_ready_configurations_are_right(name):
    assert read_configuration(name).name == name


@pytest.mark.parametrize("name", ["codebrain-tokenizer-toy", "eegdino-toy", "eegpt-toy"])
def test_toy_encoders_are_small_enough_to_ship(name):
    encoder = read_configuration(name).build().encoder

    assert sum(value.numel() for value in encoder.parameters()) < 1e6


@pytest.mark.parametrize(
    ("old", "new", "message"),
    [
        (
            "objective:",
            "objectiv:",
            "own.yaml: the configuration has no 'objectiv'. Did you mean 'objective'",
        ),
        ("MaskedAlignment", "MaskAlignment", "no objective 'MaskAlignment'. Did you mean 'MaskedAlignment'"),
        ("n_visible_channels", "n_visible", "MaskedAlignment has no 'n_visible'. Did you mean"),
        ("embed_dim", "embed_dims", "EEGPT has no 'embed_dims'. Did you mean 'embed_dim'"),
        ("embed_dim: 8", "n_times: 8", "EEGPT has no 'n_times'"),
        ("batch_size", "batchsize", "'training' has no 'batchsize'. Did you mean 'batch_size'"),
        (", batch_size: 4", "", "'training' needs batch_size, got n_steps"),
        ("n_steps: 4", "n_steps: four", "n_steps of 'training' should be a whole number, got 'four'"),
        ("n_steps: 4, ", "", "'training' needs n_steps or n_epochs, got batch_size"),
        ("n_steps: 4", "n_epochs: -1", "n_epochs of 'training' should be greater than 0, got -1"),
        ("lr: 1e-3", "lr: fast", "lr of 'training' should be a number or 'name: value' pairs, got 'fast'"),
        ("lr: 1e-3", "lr: -1e-3", "lr of 'training' should be greater than 0 or"),
        ("lr: 1e-3", "lr: .nan", "lr of 'training' should be a finite number"),
        ("cpu: true", "cpu: true, precision: float16", "should be 'float32' or 'bfloat16', got 'float16'"),
        ("seconds: 2.0", "seconds: -4", "seconds of 'data' should be greater than 0, got -4"),
        ("lr: 1e-3", "lr: {schedule: cosine}", "the schedule 'cosine' of lr of Settings needs start and end"),
        ("momentum: [0.9, 1]", "momentum: 1.0", "momentum of MaskedAlignment should be a list, got 1.0"),
        (
            "momentum: [0.9, 1]",
            "target: spectrum",
            "should be 'samples' or 'log-spectrum', got 'spectrum'. Did you mean 'log-spectrum'",
        ),
        ("momentum: [0.9, 1]", "skip: 1", "skip of MaskedAlignment should be true or false, got 1"),
        ("  seconds: 2.0\n", "", "needs the length of a window"),
        ("simulated:", "simulation:", "'data' has no 'simulation'. Did you mean 'simulated'"),
        (
            "encoder:",
            "tokenizer: x\nencoder:",
            "for CodePrediction only, got 'x' for MaskedAlignment. Remove",
        ),
        ("data:", "data: 3\nother:", "the configuration has no 'other'"),
        ("encoder:", "encoder: 3\nother:", "the configuration has no 'other'"),
        ("encoder: {", "encoder: 3 #{", "encoder of the configuration should be"),
        ("embed_dim: 8", "embed_dim: 8, embed_dim: 9", "'embed_dim' is there twice. Correct the YAML"),
        (
            "embed_dim: 8",
            "embed_dim: !!python/name:os.system",
            "is not allowed; leave it out. Correct the YAML there",
        ),
        (
            "embed_dim: 8",
            "patch_module: PatchNorm",
            "patch_module of EEGPT should be .*'PatchNormEmbed'.* Did you mean 'PatchNormEmbed'",
        ),
        ("embed_dim: 8", "embed_dim: ReLU", "embed_dim of EEGPT should be a whole number, got 'ReLU'"),
        ("encoder:", "encoder: [1", "line"),
    ],
)
def test_a_wrong_configuration_is_refused_with_the_nearest_right_word(read, old, new, message):
    with pytest.raises(ValueError, match=message.replace("(", r"\(")):
        read(SMALL.replace(old, new, 1))


def test_layers_go_by_their_names(read):
    objective = read(SMALL.replace("embed_dim: 8", "embed_dim: 8, patch_module: PatchNormEmbed")).build()

    assert isinstance(objective.student.patch_embed, PatchNormEmbed)


@pytest.mark.parametrize(
    ("old", "new", "message"),
    [
        ("held_out: 1", "held_out: 2", "has to leave some of the 2 subjects 1, 2, got 2"),
        ("held_out: 1", "held_out: [Jo]", "subjects 1, 2, got Jo"),
        ("n_runs", "n_rnus", "'simulated' has no 'n_rnus'. Did you mean 'n_runs'"),
        ("batch_size: 4", "batch_size: 99", "A batch needs 99 windows"),
    ],
)
def test_the_command_says_in_one_sentence_what_does_not_fit(command, old, new, message):
    result = command(SMALL.replace(old, new))

    assert result.exit_code == 1
    assert message in result.output
    assert "Traceback" not in result.output


def test_a_name_that_is_nearly_right_gets_a_suggestion():
    result = CliRunner().invoke(app, ["pretrain", "eegpt-toi"])

    assert result.exit_code == 1
    assert "There is no configuration eegpt-toi. Did you mean eegpt-toy?" in result.output


def test_windows_of_two_sources_keep_their_numbers():
    first, second = (TensorWindows(torch.rand(n, 2, 3), ["Cz", "Pz"]) for n in (4, 3))
    joined = JoinedWindows([first, second])
    numbers = [5, 0, 6, 3, 4, 5]

    everything = torch.cat([first.windows, second.windows])
    assert len(joined) == 7
    assert torch.equal(joined.__getitems__(numbers), everything[numbers])


def test_windows_of_other_channels_are_not_joined():
    first, second = (TensorWindows(torch.rand(4, 1, 3), [name]) for name in ("Cz", "Pz"))

    with pytest.raises(ValueError, match="need the same channels"):
        JoinedWindows([first, second])
