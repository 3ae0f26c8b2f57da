"""From any windows to those that a model expects, or one sentence why not."""

from dataclasses import replace

import mne
import numpy as np

from eeglab_models.models.base import EEGModel
from eeglab_models.signals.recordings import Windows

__all__ = ["prepare"]

# Names of the 10-20 system that were replaced by those of the 10-10 system.
OLD_NAMES = {"T3": "T7", "T4": "T8", "T5": "P7", "T6": "P8"}


def prepare(windows: Windows, model: EEGModel) -> Windows:
    """Bring windows to the rate, channels and unit that a model expects.

    Channels are picked by name and put in order if the model was built with `chs_info`; otherwise their
    number has to be right and their order stays. Windows are resampled, referenced if the model asks
    for it, and converted to the model's unit.

    Parameters
    ----------
    windows : Windows
        EEG in microvolts, as `load_windows` returns it.
    model : EEGModel
        The model that will read the windows. Its contract states rate, unit and reference; a model built
        with `sfreq` gets that rate.

    Returns
    -------
    windows : Windows
        Ready for the model: ``model(torch.from_numpy(windows.data))``.

    Raises
    ------
    ValueError
        If the windows are not in microvolts, if channels are missing, or if the length does not fit.
    """
    contract = model.contract
    if windows.unit != "µV":
        raise ValueError(
            f"prepare() starts from microvolts, got {windows.unit}. Pass what load_windows returned."
        )
    windows = pick_channels(windows, model)
    if contract.reference == "average":
        windows = replace(windows, data=windows.data - windows.data.mean(axis=1, keepdims=True))
    sfreq = contract.sfreq if model.arguments["sfreq"] is None else model.sfreq
    windows = resample(windows, sfreq)
    if windows.data.shape[-1] != model.n_times:
        raise ValueError(
            f"{type(model).__name__} was built for windows of {model.n_times} samples at {sfreq:g} Hz, got "
            f"{windows.data.shape[-1]}. Build it with n_times={windows.data.shape[-1]}, or load windows of "
            f"{model.n_times / sfreq:g} s."
        )
    return replace(windows, data=windows.data * np.float32(contract.scale), unit=contract.unit)


def pick_channels(windows: Windows, model: EEGModel) -> Windows:
    """Pick the model's channels by name, or check their number if the model knows no names."""
    if model.arguments["chs_info"] is None:
        if len(windows.ch_names) != model.n_chans:
            raise ValueError(
                f"{type(model).__name__} was built for {model.n_chans} channels without names, got "
                f"{len(windows.ch_names)}. Build it with chs_info, so that channels can be picked by name."
            )
        return windows
    position = {standard_name(name): index for index, name in enumerate(windows.ch_names)}
    wanted = [channel["ch_name"] for channel in model.chs_info]
    missing = [name for name in wanted if standard_name(name) not in position]
    if missing:
        raise ValueError(
            f"{type(model).__name__} expects channels that the windows do not have: {', '.join(missing)}. "
            "Interpolate them with mne first, or build the model for the channels that are there."
        )
    order = [position[standard_name(name)] for name in wanted]
    return replace(windows, data=windows.data[:, order], info=mne.pick_info(windows.info, order))


def resample(windows: Windows, sfreq: float) -> Windows:
    """Resample windows to another rate in Hz."""
    if windows.sfreq == sfreq:
        return windows
    data = mne.filter.resample(windows.data.astype(np.float64), up=sfreq, down=windows.sfreq, verbose="error")
    info = mne.create_info(windows.ch_names, sfreq, "eeg", verbose="error")
    montage = windows.info.get_montage()
    if montage is not None:
        info.set_montage(montage, verbose="error")
    return replace(windows, data=data.astype(np.float32), info=info)


def standard_name(name: str) -> str:
    """Spell an electrode the same way whatever its case, padding dots or generation of the 10-20 system."""
    upper = name.upper().strip(".")
    return OLD_NAMES.get(upper, upper)
