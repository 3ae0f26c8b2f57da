"""Windows, and the report of what was done to them."""

import mne
import numpy as np
import pandas as pd
import pytest

from eeglab_models import EEGDINO, EEGPT, FBLightConvNet
from eeglab_models.signals.windows import Report, Windows


@pytest.fixture
def windows():
    data = np.arange(4, dtype=np.float32)[:, None, None] * np.ones((4, 2, 5), dtype=np.float32)
    metadata = pd.DataFrame({"subject": [1, 1, 2, 2]}, index=[7, 8, 9, 10])
    return Windows(data, mne.create_info(2, 100.0, "eeg"), np.array(["a", "b", "a", "b"]), metadata)


@pytest.mark.parametrize("index", [slice(1, 3), [1, 2], np.array([False, True, True, False])])
def test_windows_are_chosen_with_all_that_belongs_to_them(windows, index):
    chosen = windows[index]

    assert chosen.data[:, 0, 0].tolist() == [1.0, 2.0]
    assert chosen.labels.tolist() == ["b", "a"]
    assert chosen.metadata["subject"].tolist() == [1, 2]
    assert chosen.metadata.index.tolist() == [0, 1]


def test_windows_always_have_three_axes(windows):
    with pytest.raises(IndexError, match="a number, a slice, a list of numbers, or a mask"):
        windows[[[0, 1], [2, 3]]]


def test_a_report_prints_its_steps_in_order_and_finds_them_by_subject():
    report = Report().add("unit", "mV.").add("rate", "160 to 256 Hz.").add("unit", "Twice.")

    assert str(report).splitlines() == [
        "unit         mV.",
        "rate         160 to 256 Hz.",
        "unit         Twice.",
    ]
    assert report["unit"] == "mV. Twice."
    assert report["filter"] == ""


def test_a_report_in_a_notebook_shows_names_of_channels_as_they_are():
    html = Report().add("channels", "<b>C3</b> left out.")._repr_html_()

    assert "&lt;b&gt;C3&lt;/b&gt; left out." in html


@pytest.fixture
def recorded():
    info = mne.create_info(["EEG T3", "Cz", "X1"], 160.0, "eeg")
    return Windows(np.zeros((1, 3, 480), dtype=np.float32), info)


@pytest.mark.parametrize(
    ("model_class", "names", "sfreq"),
    [
        (EEGDINO, ["T7", "Cz", "X1"], 200.0),
        (EEGPT, ["T7", "Cz"], 256.0),
        (FBLightConvNet, ["T7", "Cz", "X1"], 160.0),
    ],
)
def test_a_model_is_told_the_channels_that_it_knows_and_its_own_rate(recorded, model_class, names, sfreq):
    signal = recorded.signal_for(model_class)

    assert [channel["ch_name"] for channel in signal["chs_info"]] == names
    assert signal["sfreq"] == sfreq
    assert signal["input_window_seconds"] == 3.0


def test_a_model_can_be_built_from_what_windows_tell(recorded):
    model = EEGDINO(n_outputs=2, n_layer=1, **recorded.signal_for(EEGDINO))

    assert model.input_shape == (1, 3, 600)
