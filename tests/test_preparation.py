"""From any windows to those that a model expects."""

from dataclasses import replace

import mne
import numpy as np
import pytest
import torch

from eeglab_models import EEGDINO, EEGPT, CodeBrain, FBLightConvNet, prepare
from eeglab_models.signals.electrodes import montage, template
from eeglab_models.signals.preparation import check_prepared
from eeglab_models.signals.windows import Windows

SECONDS = 2.0


@pytest.fixture
def windows():
    """A 6 Hz rhythm of another amplitude on every channel, in microvolts, at 100 Hz."""
    names = ["Fz", "C3", "CZ", "T8", "Pz"]
    time = np.arange(200) / 100
    amplitudes = np.array([10.0, 20.0, 30.0, 40.0, 50.0])
    data = (amplitudes[:, None] * np.sin(2 * np.pi * 6 * time))[None].repeat(3, axis=0)
    return Windows(data.astype(np.float32), mne.create_info(names, 100.0, "eeg"), np.array(["a", "b", "a"]))


def channels(*names):
    return [{"ch_name": name} for name in names]


@pytest.mark.parametrize(
    ("model_class", "sfreq", "scale"),
    [(CodeBrain, 200, 0.01), (EEGDINO, 200, 0.01), (EEGPT, 256, 0.001), (FBLightConvNet, 250, 1.0)],
)
def test_windows_reach_each_model_in_its_rate_and_unit(windows, model_class, sfreq, scale):
    options = {"win_len": sfreq} if model_class is FBLightConvNet else {}
    signal = {"n_chans": 5, "sfreq": float(sfreq), "input_window_seconds": SECONDS}
    model = model_class(n_outputs=2, **signal, **options)

    prepared = prepare(windows, model)

    assert (prepared.sfreq, prepared.unit) == (sfreq, model.contract.unit)
    assert prepared.data.shape == (3, 5, SECONDS * sfreq)
    difference = prepared.data[:, 4] - prepared.data[:, 0]
    amplitude = np.abs(difference[:, sfreq // 4 : -sfreq // 4]).max()
    assert amplitude == pytest.approx(40 * scale, rel=0.02)
    assert model(torch.from_numpy(prepared.data)).shape == (3, 2)


def test_a_model_built_for_another_rate_gets_it(windows):
    model = EEGDINO(n_outputs=2, n_chans=5, sfreq=100, input_window_seconds=SECONDS)

    np.testing.assert_allclose(prepare(windows, model).data, windows.data * 0.01, rtol=1e-6)


def test_average_reference_is_taken_where_the_model_asks_for_it(windows):
    model = EEGPT(n_outputs=2, n_chans=5, sfreq=256, input_window_seconds=SECONDS)

    prepared = prepare(windows, model)

    np.testing.assert_allclose(prepared.data.mean(axis=1), 0, atol=1e-6)


def test_channels_are_picked_by_name_in_the_order_of_the_model(windows):
    model = EEGDINO(
        n_outputs=2, chs_info=channels("t4", "Cz.", "C3"), sfreq=100, input_window_seconds=SECONDS
    )

    prepared = prepare(windows, model)

    assert prepared.ch_names == ["T8", "Cz", "C3"]
    np.testing.assert_allclose(prepared.data, windows.data[:, [3, 2, 1]] * 0.01, rtol=1e-6)


def test_missing_channels_are_named(windows):
    model = EEGDINO(n_outputs=2, chs_info=channels("C3", "O1"), sfreq=100, input_window_seconds=SECONDS)

    with pytest.raises(ValueError, match="does not have: O1"):
        prepare(windows, model)


def test_another_number_of_channels_without_names_is_refused(windows):
    model = EEGDINO(n_outputs=2, n_chans=4, sfreq=100, input_window_seconds=SECONDS)

    with pytest.raises(ValueError, match="4 channels without names, got 5"):
        prepare(windows, model)


def test_another_length_is_refused_with_the_remedy(windows):
    model = EEGDINO(n_outputs=2, n_chans=5, sfreq=200, input_window_seconds=3)

    with pytest.raises(ValueError, match="600 samples at 200 Hz, got 400. .* load windows of 3 s"):
        prepare(windows, model)


def test_windows_are_prepared_only_once(windows):
    model = EEGDINO(n_outputs=2, n_chans=5, sfreq=100, input_window_seconds=SECONDS)

    with pytest.raises(ValueError, match="starts from microvolts, got µV/100"):
        prepare(prepare(windows, model), model)
    with pytest.raises(ValueError, match="got V"):
        prepare(replace(windows, unit="V"), model)


@pytest.fixture
def head():
    """A smooth field over 30 electrodes with noise, in microvolts, at 100 Hz."""
    names = """Fp1 Fp2 F7 F3 Fz F4 F8 FC5 FC1 FC2 FC6 T7 C3 Cz C4 T8 CP5 CP1 CP2 CP6 P7 P3 Pz P4 P8 O1 Oz O2
    AF3 AF4""".split()
    generator = np.random.default_rng(0)
    positions = np.array([montage().get_positions()["ch_pos"][name] for name in names])
    sources = generator.normal(size=(2, 3, 200))
    data = np.einsum("cd,wdt->wct", positions * 300, sources) + generator.normal(size=(2, len(names), 200))
    return Windows(data.astype(np.float32), mne.create_info(names, 100.0, "eeg"), np.array(["a", "b"]))


def dino(*names, **arguments):
    return EEGDINO(
        n_outputs=2, chs_info=channels(*names), sfreq=100, input_window_seconds=SECONDS, **arguments
    )


def eegpt(**arguments):
    patches = {"patch_size": 50, "patch_stride": 50, "depth": 1}
    return EEGPT(n_outputs=2, sfreq=100, input_window_seconds=SECONDS, **patches, **arguments)


def without(windows, *names):
    kept = [index for index, name in enumerate(windows.ch_names) if name not in names]
    return replace(windows, data=windows.data[:, kept], info=mne.pick_info(windows.info, kept))


def test_a_model_without_names_but_with_the_contracts_number_of_channels_gets_the_contracts(head):
    model = CodeBrain(n_outputs=2, n_chans=19, sfreq=100, patch_size=100, n_times=200)

    prepared = prepare(head, model)

    assert prepared.ch_names == list(CodeBrain.contract.ch_names)
    assert "in the order of CodeBrain's weights" in prepared.report["channels"]


def test_missing_channels_are_interpolated_from_their_positions(head):
    prepared = prepare(without(head, "C3", "P4"), dino("C3", "C4", "P4"), missing="interpolate")
    expected = prepare(head, dino("C3", "C4", "P4"))

    assert "2 filled by spherical splines: C3, P4" in prepared.report["channels"]
    np.testing.assert_array_equal(prepared.data[:, 1], expected.data[:, 1])
    for channel in (0, 2):
        correlation = np.corrcoef(prepared.data[:, channel].ravel(), expected.data[:, channel].ravel())[0, 1]
        assert correlation > 0.9


@pytest.fixture
def moved(head):
    """A recording whose electrodes were digitised up to 2 cm from where their names say, and its field."""
    generator = np.random.default_rng(1)
    places = {name: template()[name] for name in head.ch_names}
    places = {name: place + generator.uniform(-0.02, 0.02, 3) for name, place in places.items()}
    raw = mne.io.RawArray(np.zeros((30, 200)), mne.create_info(list(places), 100.0, "eeg"), verbose="error")
    raw.set_montage(mne.channels.make_dig_montage(places, coord_frame="head"))
    field = np.array(list(places.values())) * 300  # µV
    data = np.einsum("cd,wdt->wct", field, generator.normal(size=(2, 3, 200))).astype(np.float32)
    return Windows(data, raw.info, np.array(["a", "b"]))


def test_channels_are_filled_where_they_were_digitised_as_mne_does(moved):
    bad, row = moved.data.copy(), moved.ch_names.index("C3")
    bad[:, row] = 0.0
    nameless = replace(moved, data=bad, info=mne.create_info(moved.ch_names, 100.0, "eeg"))
    epochs = mne.EpochsArray(moved.data.astype(float), moved.info, verbose="error")
    epochs.info["bads"] = ["C3"]
    expected = epochs.interpolate_bads(verbose="error").get_data("C3")[:, 0]

    def fill(windows):
        return prepare(windows, dino("C3"), bad_windows="interpolate").data[:, 0] * 100

    np.testing.assert_allclose(fill(replace(moved, data=bad)), expected, atol=1e-3)
    errors = [np.abs(fill(w) - moved.data[:, row]).mean() for w in (replace(moved, data=bad), nameless)]
    assert errors[0] < errors[1] / 2


def test_missing_channels_are_filled_from_digitised_positions_whatever_their_names(moved):
    known = prepare(without(moved, "C3"), dino("C3", "C4"), missing="interpolate").data
    info = without(moved, "C3").info.copy()
    mne.rename_channels(info, {name: f"E{i}" for i, name in enumerate(info["ch_names"]) if name != "C4"})

    renamed = prepare(replace(without(moved, "C3"), info=info), dino("C3", "C4"), missing="interpolate")

    np.testing.assert_allclose(renamed.data, known, atol=1e-5)


def test_missing_channels_are_zero_where_that_is_asked_for(head):
    prepared = prepare(without(head, "C4"), dino("C3", "C4"), missing="zero")

    assert "1 filled with zeros: C4" in prepared.report["channels"]
    assert (prepared.data[:, 1] == 0).all()
    assert (prepared.data[:, 0] != 0).any()


def test_a_learned_projection_takes_all_channels_of_the_recording(head):
    prepared = prepare(head, eegpt(n_chans=30), missing="project")

    assert prepared.ch_names == head.ch_names
    assert "All 30, mixed by the learned projection" in prepared.report["channels"]
    with pytest.raises(ValueError, match="mixes 5 channels, the recording has 30"):
        prepare(head, eegpt(n_chans=5), missing="project")
    with pytest.raises(ValueError, match="needs a model with a learned projection of channels, got EEGDINO"):
        prepare(head, dino("C3"), missing="project")


def test_channels_of_a_montage_that_starts_elsewhere_come_with_their_ids(head):
    assert "pass channel_ids=(4, 17, 5)" in prepare(head, dino("C3", "Cz", "C4")).report["channels"]


def test_channels_that_the_weights_never_saw_are_named(head):
    report = prepare(head, dino("C3", "FC5", "Oz")).report

    assert "not among those of its weights and take the place of others: FC5, Oz." in report["channels"]


def test_channels_can_be_named_where_the_model_knows_only_their_number(head):
    model = EEGDINO(n_outputs=2, n_chans=2, sfreq=100, input_window_seconds=SECONDS)

    assert prepare(head, model, ch_names=["Pz", "T3"]).ch_names == ["Pz", "T7"]
    with pytest.raises(ValueError, match="2 channels without names, got 3"):
        prepare(head, model, ch_names=["Pz", "T3", "Cz"])


def test_the_average_is_taken_over_all_channels_of_the_recording(head):
    model = eegpt(chs_info=channels("C3", "C4"), chan_proj_type="none")
    average = head.data.mean(axis=1)

    prepared = prepare(head, model)

    expected = (head.data[:, head.ch_names.index("C3")] - average) * 1e-3
    np.testing.assert_allclose(prepared.data[:, 0], expected, atol=1e-6)
    assert prepared.report["reference"] == "Average of 30 channels."


def test_old_names_are_reported(head):
    head = replace(head, info=head.info.copy())
    mne.rename_channels(head.info, {"T7": "EEG T3-REF"}, verbose="error")

    prepared = prepare(head, dino("T7", "C3"))

    assert prepared.ch_names == ["T7", "C3"]
    assert "EEG T3-REF is T7." in prepared.report["channels"]


def test_two_names_of_one_electrode_are_refused(head):
    head = replace(head, info=head.info.copy())
    mne.rename_channels(head.info, {"O1": "T3"}, verbose="error")

    with pytest.raises(ValueError, match="mean the same electrode, T7"):
        prepare(head, dino("T7"))


def test_amplitudes_that_are_no_eeg_are_refused_unless_they_are_right(head):
    millivolts = replace(head, data=head.data * np.float32(1e-3))

    with pytest.raises(ValueError, match="millivolts, .* were taken for microvolts"):
        prepare(millivolts, dino("C3"))
    assert len(prepare(millivolts, dino("C3"), check_amplitude=False)) == 2


def test_windows_with_flat_channels_are_handled_as_asked(head):
    head.data[1, head.ch_names.index("C3")] = 7.0
    model = dino("C3", "C4")

    with pytest.raises(ValueError, match=r"1 of 2 hold channels that are flat.*\(C3\). Pass bad_windows="):
        prepare(head, model)
    dropped = prepare(head, model, bad_windows="drop")
    filled = prepare(head, model, bad_windows="interpolate")
    assert dropped.labels.tolist() == ["a"]
    assert "1 of 2" in dropped.report["bad windows"]
    assert filled.data[1, 0].std() > 0
    np.testing.assert_array_equal(filled.data[0], dropped.data[0])
    np.testing.assert_array_equal(filled.data[1, 1], prepare(head, dino("C4")).data[1, 0])


def test_samples_that_are_no_number_never_pass(head):
    head.data[0, 0, 5] = np.nan
    average = eegpt(n_chans=30)

    with pytest.raises(ValueError, match=r"1 of 2 .*\(Fp1\)"):
        prepare(head, average)
    assert np.isfinite(prepare(head, average, bad_windows="interpolate").data).all()
    assert len(prepare(head, dino("C3"))) == 2, "a channel that the model does not read does no harm"


def test_a_channel_that_is_always_flat_leaves_nothing_to_drop(head):
    head.data[:, 0] = 0.0

    with pytest.raises(ValueError, match="so none would be left"):
        prepare(head, dino("Fp1"), bad_windows="drop")


@pytest.mark.parametrize("argument", ["missing", "bad_windows"])
def test_unknown_choices_are_refused(head, argument):
    with pytest.raises(ValueError, match=f"{argument} must be one of raise, .*, got 'guess'"):
        prepare(head, dino("C3"), **{argument: "guess"})


@pytest.fixture
def raw():
    """A minute of EEG of 20 µV at 160 Hz, with a mains hum at 50 Hz, two events and a trigger channel."""
    names = [*CodeBrain.contract.ch_names, "STI 014"]
    data = 20e-6 * np.random.default_rng(0).normal(size=(20, 9600))
    data[:19] += 50e-6 * np.sin(2 * np.pi * 50 * np.arange(9600) / 160)
    info = mne.create_info(names, 160.0, ["eeg"] * 19 + ["stim"])
    raw = mne.io.RawArray(data, info, verbose="error")
    return raw.set_annotations(mne.Annotations([10, 20], 5.0, ["left", "right"]))


def test_a_raw_recording_is_filtered_and_cut_as_the_contract_says(raw):
    model = CodeBrain(n_outputs=2, n_chans=19, input_window_seconds=4.0, sfreq=200)

    prepared = prepare(raw, model)

    assert prepared.data.shape == (2, 19, 800)
    assert prepared.labels.tolist() == ["left", "right"]
    assert prepared.report["filter"].startswith("0.3 to 75 Hz, on the continuous recording.")
    assert "the recording states no mains frequency" in prepared.report["filter"]
    assert prepared.report["rate"] == "160 to 200 Hz."
    assert prepared.report["windows"] == "4 s from 0 s after left, right."
    assert prepared.report["unit"] == "µV/100: microvolts times 0.01."


def test_mains_hum_is_removed_where_the_recording_knows_its_frequency(raw):
    model = CodeBrain(n_outputs=2, n_chans=19, input_window_seconds=4.0, sfreq=200)
    raw.info["line_freq"] = 50.0

    prepared = prepare(raw, model)

    spectrum = np.abs(np.fft.rfft(prepared.data)).mean(axis=(0, 1))
    assert spectrum[200] < spectrum[160:180].mean()  # 50 Hz against 40 to 45 Hz
    assert "Notch at 50 Hz" in prepared.report["filter"]


def test_epochs_of_mne_lose_the_sample_at_their_end(raw):
    events, event_id = mne.events_from_annotations(raw, verbose="error")
    epochs = mne.Epochs(raw, events, event_id, 0, 4.0, baseline=None, preload=True, verbose="error")
    model = dino("C3", "C4")

    from_epochs = prepare(
        epochs, EEGDINO(n_outputs=2, chs_info=channels("C3"), sfreq=160, n_times=640, patch_size=160)
    )
    from_array = prepare(
        epochs.get_data("eeg"),
        EEGDINO(n_outputs=2, chs_info=channels("C3"), sfreq=160, n_times=640, patch_size=160),
        info=mne.pick_info(epochs.info, range(19)),
        unit="V",
    )

    np.testing.assert_allclose(from_epochs.data, from_array.data, rtol=1e-5)
    assert "sample at the end of the interval left out" in from_array.report["windows"]
    assert model.n_chans == 2


def test_loaded_windows_take_no_loading_arguments(head):
    with pytest.raises(ValueError, match="tmin belong to recordings, got windows"):
        prepare(head, dino("C3"), tmin=1.0)


def test_prepared_windows_are_known_to_fit(head):
    model = dino("C3", "C4")
    prepared = prepare(head, model)

    check_prepared(prepared, model)
    check_prepared(prepared[[1]], model)
    check_prepared(prepared, CodeBrain(n_outputs=2, n_chans=2, sfreq=100, patch_size=100, n_times=200))


@pytest.mark.parametrize(
    ("model", "difference"),
    [
        (dino("C4", "C3"), "channels C4, C3, got C3, C4"),
        (dino("C3"), "channels C3, got C3, C4"),
        (EEGDINO(n_outputs=2, n_chans=3, sfreq=100, input_window_seconds=SECONDS), "3 channels, got 2"),
        (
            EEGDINO(n_outputs=2, n_chans=2, input_window_seconds=SECONDS, n_times=400),
            "sfreq 200.0, got 100.0",
        ),
        (EEGDINO(n_outputs=2, n_chans=2, sfreq=100, n_times=300, patch_size=100), "n_times 300, got 200"),
        (
            eegpt(n_chans=2),
            "unit mV, got µV/100; reference average, got any",
        ),
    ],
    ids=["order", "names", "number", "rate", "length", "unit"],
)
def test_windows_prepared_for_another_model_are_refused(head, model, difference):
    prepared = prepare(head, dino("C3", "C4"))

    with pytest.raises(ValueError, match=difference):
        check_prepared(prepared, model)


def test_windows_that_were_changed_after_their_stamp_are_refused(head):
    prepared = prepare(head, dino("C3", "C4"))

    with pytest.raises(ValueError, match="the 2 x 200 samples that were prepared"):
        check_prepared(replace(prepared, data=prepared.data[..., :100]), dino("C3", "C4"))
    with pytest.raises(ValueError, match="that prepare\\(\\) has not seen"):
        check_prepared(head, dino("C3", "C4"))
