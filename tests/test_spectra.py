"""Masked spectra: what is told, what is hidden, and what one factor does to initial weights."""

from dataclasses import replace

import mne
import numpy as np
import pandas as pd
import pytest
import torch

from eeglab_models import EEGDINO, EEGPT, CodeBrain
from eeglab_models.pretraining import MaskedSpectra, read_configuration
from eeglab_models.pretraining.spectra import log_power
from eeglab_models.signals.preparation import level_recordings
from eeglab_models.signals.windows import Windows

CHANNELS = [{"ch_name": name} for name in ("C3", "Cz", "C4")]
STEM = ((4, 49, 25, 24, (2, 4)), (4, 3, 1, 1, (2, 4)))
SIZES = {
    CodeBrain: {"res_channels": 6, "skip_channels": 6, "out_channels": 6, "num_res_layers": 1, "s4_lmax": 12},
    EEGPT: {"patch_size": 256, "embed_num": 2, "embed_dim": 12, "depth": 1, "num_heads": 3, "init_std": 0.1},
    EEGDINO: {"n_layer": 1, "nhead": 2, "dim_feedforward": 16, "channels_kernel_stride_padding_norm": STEM},
}


def build(model):
    arguments = model.layout.pretraining_arguments | SIZES[model]
    if model is CodeBrain:
        arguments |= {"conv_out_chans": 8, "conv_groups": 4, "pos_kernel": (3, 3)}
    sfreq = model.contract.sfreq
    return model(chs_info=CHANNELS, n_times=round(4 * sfreq), sfreq=sfreq, **arguments)


@pytest.mark.parametrize("model", SIZES)
def test_every_encoder_learns_spectra(model):
    torch.manual_seed(0)
    encoder = build(model)
    objective = MaskedSpectra(encoder)
    windows = torch.randn(8, *encoder.input_shape[1:]) * model.contract.scale * 10
    objective.start(windows)
    optimizer = torch.optim.AdamW(objective.parameters(), lr=3e-3)
    drawn = objective.draw(windows)
    before = objective(windows, drawn)["loss"]
    for _ in range(15):
        optimizer.zero_grad()
        loss = objective(windows, drawn)["loss"]
        loss.backward()
        optimizer.step()

    assert loss < 0.95 * before


def test_hidden_patches_are_not_seen():
    encoder = build(EEGDINO).eval()
    objective = MaskedSpectra(encoder).eval()
    windows = torch.randn(2, *encoder.input_shape[1:])
    drawn = {"hidden": torch.ones_like(objective.draw(windows)["hidden"])}
    seen = []
    encoder.encode = lambda x: seen.append(x) or type(encoder).encode(encoder, x)
    objective(windows, drawn)

    assert not seen[0].any()


def test_a_sine_has_its_power_in_its_band():
    times = torch.arange(800) / 200
    power = log_power(torch.sin(2 * torch.pi * 10.0 * times), 200.0, 20)

    assert power.argmax() == int((10.0 - 4.0) / (41.0 / 20))


def make_windows(factors):
    data = np.random.default_rng(0).normal(size=(6, 5, 200)).astype("float32")
    data *= np.repeat(factors, 2)[:, None, None]
    info = mne.create_info(list("abcde"), 200.0, "eeg")
    return Windows(data, info, metadata=pd.DataFrame({"subject": np.repeat(list("xyz"), 2)}))


def test_levelled_recordings_do_not_depend_on_gains():
    plain, loud = level_recordings(make_windows([1, 1, 1])), level_recordings(make_windows([1, 30, 0.1]))

    np.testing.assert_allclose(loud.data, plain.data, rtol=1e-4, atol=1e-4)
    np.testing.assert_allclose(plain.data.mean(axis=1), 0, atol=1e-5)
    assert np.median(plain.data[:2].std(axis=(0, 2))) == pytest.approx(10, rel=1e-4)


def test_levelling_refuses_what_it_cannot_do():
    with pytest.raises(ValueError, match="by=()"):
        level_recordings(replace(make_windows([1, 1, 1]), metadata=None))
    with pytest.raises(ValueError, match="flat"):
        level_recordings(make_windows([1, 0, 1]))


def test_rescaling_changes_the_embedding_of_spectra_alone():
    torch.manual_seed(0)
    plain = build(EEGDINO).state_dict()
    torch.manual_seed(0)
    scaled = MaskedSpectra(build(EEGDINO), embedding_scale=185.0).encoder.state_dict()
    changed = [name for name in plain if not torch.equal(plain[name], scaled[name])]

    assert changed == ["patch_embedding.spectral_proj.0.weight"]
    torch.testing.assert_close(scaled[changed[0]], plain[changed[0]] * 185)


@pytest.mark.parametrize("name", ["codebrain-real", "eegdino-real", "eegpt-real"])
def test_configurations_of_real_eeg_leave_out_people_to_test_on(name):
    data = read_configuration(name).data
    shipped = {"S001", "S002", "S003", "S007", "S009", "S010", "S013", "S015"}

    assert set(data.left_out) == shipped | {f"Subject{number}" for number in range(14, 24)}
    assert not set(data.left_out) & set(data.held_out)
    # A bound in microvolts would empty levelled recordings of loud people, and a corpus forgets nobody.
    assert data.recordings["amplitude"] is None


def test_a_group_whose_session_is_unknown_is_levelled():
    windows = make_windows([1, 30, 0.1])
    windows.metadata["session"] = None
    plain = level_recordings(make_windows([1, 1, 1]))

    levelled = level_recordings(windows, by=("subject", "session"))
    np.testing.assert_allclose(levelled.data, plain.data, rtol=1e-4, atol=1e-4)
