"""Taking the eyes out of windows, by regression on the channels that are next to them."""

from collections.abc import Sequence
from dataclasses import replace

import mne
import numpy as np
from jaxtyping import Float
from mne.preprocessing import EOGRegression

from eeglab_models.signals.electrodes import electrode_name
from eeglab_models.signals.windows import Windows, take_channels

__all__ = ["regress_eyes"]

Signal = Float[np.ndarray, "n_windows _ _"]


def regress_eyes(windows: Windows, frontal: Sequence[str] = ("Fp1", "Fp2", "F7", "F8")) -> Windows:
    """Take out of every channel what frontal channels explain, and leave these out.

    Fitted on all windows together, without labels. Frontal channels see the brain too, so some of it goes
    with the eyes; apply it person by person, because every head mixes differently.

    Parameters
    ----------
    windows : Windows
        In microvolts, not yet prepared, with the slow waves in which eyes move.
    frontal : sequence of str
        Channels next to the eyes, as the 10-05 system names them.

    Returns
    -------
    windows : Windows
        All other channels.

    Raises
    ------
    ValueError
        If the windows lack one of these channels, have no other, or are prepared.

    References
    ----------
    Gratton et al. (1983), Electroencephalography and Clinical Neurophysiology 55; `mne`'s EOGRegression.
    """
    if windows.stamp is not None:
        raise ValueError("Eyes are taken out before prepare(), got prepared windows. Do it first.")
    names = {electrode_name(name): name for name in windows.ch_names}
    missing = [name for name in frontal if name not in names]
    if missing or not set(names) - set(frontal):
        raise ValueError(
            f"Regression needs {', '.join(frontal)} and another channel, got {', '.join(windows.ch_names)}. "
            "Name channels that are there with frontal=."
        )
    eyes = [names[name] for name in frontal]
    others = [name for name in windows.ch_names if name not in eyes]
    epochs = mne.EpochsArray(windows.data * 1e-6, windows.info.copy(), verbose="error")
    # Channels are compared as they were recorded, whatever their reference.
    epochs, _ = mne.set_eeg_reference(epochs, [], copy=False, verbose="error")
    regression = EOGRegression(picks=others, picks_artifact=eyes, proj=False).fit(epochs)
    kept = take_channels(windows, others)
    rows = [windows.ch_names.index(name) for name in eyes]
    n_around = windows.n_around

    def clean(own: Signal, whole: Signal) -> Signal:
        artifact = whole[:, rows] - whole[:, rows].mean(axis=-1, keepdims=True)
        return own - np.einsum("oe,wet->wot", regression.coef_, artifact).astype(np.float32)

    wide = clean(kept.wide, windows.wide) if n_around else None
    data = wide[..., n_around:-n_around] if n_around else clean(kept.data, windows.data)
    report = windows.report.add("eyes", f"Regressed on {', '.join(eyes)}, which are left out.")
    return replace(kept, data=data, wide=wide, report=report)
