"""From any recording to the windows that a model expects, or one sentence why not."""

from collections.abc import Iterable, Sequence
from dataclasses import replace
from fractions import Fraction
from inspect import signature
from typing import Any

import mne
import numpy as np
from jaxtyping import Float

from eeglab_models.configs import check_name, shorten
from eeglab_models.models.base import EEGModel
from eeglab_models.signals.electrodes import spell_channel
from eeglab_models.signals.picking import (
    handle_bad,
    name_channels,
    note,
    own_channels,
    pick_channels,
    take_reference,
)
from eeglab_models.signals.plan import Plan, refuse
from eeglab_models.signals.quality import check_copies, check_result, describe_amplitude, measure_amplitude
from eeglab_models.signals.recordings import load_parts, load_windows
from eeglab_models.signals.trials import is_cut
from eeglab_models.signals.windows import Stamp, Windows, concatenate

__all__ = ["check_prepared", "level_recordings", "prepare"]

# Samples that are resampled at once, in double precision.
N_AT_ONCE = 2**17


def prepare(
    recording: Any,
    model: EEGModel,
    *,
    ch_names: Sequence[str] | None = None,
    missing: str = "raise",
    least_share: float = 0.25,
    bad_windows: str = "raise",
    ceiling: float | None = 5000.0,
    check_amplitude: bool = True,
    **loading: Any,
) -> Windows:
    """Bring a recording to the rate, channels, reference, unit and length that a model expects.

    Recordings of one call are prepared one by one, so they may differ in rate and channels.

    Parameters
    ----------
    recording : Windows, or anything that `load_windows` reads
        A continuous recording is cut into windows of the model's length.
    model : EEGModel
        The model that will read the windows. Its contract states rate, unit and reference; a model built
        with `sfreq` gets that rate.
    ch_names : sequence of str or None
        Channels to pass, in this order. None means those of the model's `chs_info`; without it those of
        its contract, if the model has as many; without them the recording's, if they are as many.
    missing : {"raise", "interpolate", "project", "zero"}
        What to do about channels that the recording does not have: refuse, fill them by spherical splines,
        leave all channels to EEGPT's learned projection, or pass zeros.
    least_share : float
        Share of the model's channels that the recording has to have, from 0 to 1; with fewer, names were
        probably not understood.
    bad_windows : {"raise", "drop", "interpolate"}
        What to do about windows in which a channel is flat, no number or beyond the ceiling: refuse, leave
        them out, or fill these channels by spherical splines.
    ceiling : float or None
        Microvolts that no sample may exceed; None for recordings in another unit.
    check_amplitude : bool
        Refuse amplitudes and offsets that are implausible for EEG.
    **loading
        Arguments of `load_windows`, if `recording` is not yet windows.

    Returns
    -------
    windows : Windows
        Ready for the model: ``model(torch.from_numpy(windows.data))``. `report` lists every step, `stamp`
        what the windows were prepared to be.

    Raises
    ------
    ValueError
        If the windows are not in microvolts or implausible as EEG, if channels are missing or bad, or if
        the length does not fit.
    """
    check_choice("missing", missing, ("raise", "interpolate", "project", "zero"))
    check_choice("bad_windows", bad_windows, ("raise", "drop", "interpolate"))
    if not isinstance(recording, Windows):
        parts = load_for(recording, model, {"ceiling": ceiling, **loading})
    elif loading:
        raise ValueError(
            f"{', '.join(loading)} belong to recordings, got windows that are loaded. Leave them out."
        )
    else:
        parts = [recording]
    prepared = []
    for windows in parts:
        if windows.unit != "µV":
            raise ValueError(
                f"prepare() starts from microvolts, got {windows.unit}. Pass what load_windows returned."
            )
        if check_amplitude:
            measure_amplitude(windows)
        if not windows.report["amplitude"]:
            windows = note(windows, "amplitude", describe_amplitude(windows))
        wanted = name_channels(windows, model, ch_names, missing)
        windows = handle_bad(windows, model, wanted, bad_windows, ceiling)
        own = [spell_channel(name) for name in windows.ch_names]
        rows = [row for row, name in enumerate(own) if wanted is None or name in wanted]
        check_copies(windows.data, windows.ch_names, rows)
        windows = take_reference(windows, model)
        windows = pick_channels(windows, model, wanted, missing, least_share)
        windows = resample(windows, model)
        check_result(windows.data, windows.ch_names, ceiling)
        prepared.append(scale(windows, model))
        del windows  # the generator would hold two recordings otherwise
    return concatenate(prepared)


def level_recordings(windows: Windows, level: float = 10.0, by: Sequence[str] = ("subject",)) -> Windows:
    """Bring recordings to the average reference and to one amplitude, without labels.

    Amplitudes differ by skulls, gels and amplifiers; one factor for all channels and windows of a recording
    takes that away and keeps what differs within it.

    Parameters
    ----------
    windows : Windows
        Prepared, or in microvolts.
    level : float
        Standard deviation, over all samples of a group, that its median channel gets, in microvolts.
    by : sequence of str
        Columns of the metadata: windows that agree in them are one recording. Empty takes all as one.

    Returns
    -------
    levelled : Windows
        The same windows, levelled, in their unit.

    Raises
    ------
    ValueError
        If the windows lack these metadata, or hold no signal.
    """
    lacking = [name for name in by if windows.metadata is None or name not in windows.metadata]
    if lacking:
        raise ValueError(
            f"Levelling needs the columns {', '.join(by)} in the metadata, got none named "
            f"{', '.join(lacking)}. Pass by=()."
        )
    data = windows.data - windows.data.mean(axis=1, keepdims=True)  # (n_windows, n_chans, n_times)
    # What is unknown, such as a session, is a group as well.
    groups = windows.metadata.groupby(list(by), dropna=False).ngroup() if by else np.zeros(len(data))
    unit = {"µV": 1.0, "mV": 1e-3, "µV/100": 1e-2, "V": 1e-6}[windows.unit]
    for group in np.unique(groups):
        own = np.asarray(groups == group)
        spread = np.median(data[own].std(axis=(0, 2)))
        if not spread > 0:
            raise ValueError("Levelling needs a signal, got channels that are flat. Leave them out.")
        data[own] *= level * unit / spread
    # What lies around the windows was not levelled.
    return replace(windows, data=data, wide=None)


def check_prepared(windows: Windows, model: EEGModel) -> None:
    """Refuse windows that were not prepared for this model, or for one that expects the same.

    Parameters
    ----------
    windows : Windows
        As `prepare` returned them, or a choice of them.
    model : EEGModel
        The model that is about to read them.

    Raises
    ------
    ValueError
        If the windows were never prepared, or for another rate, unit, reference, length or montage; the
        message names the differences.
    """
    name = type(model).__name__
    if windows.stamp is None:
        raise ValueError(
            f"{name} expects prepared windows, got windows in {windows.unit} that prepare() has not seen. "
            "Pass them through prepare(windows, model) first."
        )
    stamp = windows.stamp
    expected = {
        "sfreq": target_rate(model),
        "unit": model.contract.unit,
        "reference": model.contract.reference,
        "n_times": model.n_times,
    }
    differences = [
        f"{fact} {value}, got {getattr(stamp, fact)}"
        for fact, value in expected.items()
        if getattr(stamp, fact) != value
    ]
    names = own_channels(model)
    if names is not None and names != list(stamp.ch_names):
        differences.append(f"channels {shorten(names)}, got {shorten(stamp.ch_names)}")
    elif len(stamp.ch_names) != model.n_chans:
        differences.append(f"{model.n_chans} channels, got {len(stamp.ch_names)}")
    if windows.data.shape[1:] != (len(stamp.ch_names), stamp.n_times):
        differences.append(f"the {len(stamp.ch_names)} x {stamp.n_times} samples that were prepared")
    if differences:
        raise ValueError(
            f"These windows were prepared for another model than this {name}, which expects "
            f"{'; '.join(differences)}. Prepare them again from the recording."
        )


def load_for(recording: Any, model: EEGModel, loading: dict[str, Any]) -> Iterable[Windows]:
    """Load a recording in windows of the model's length, one part after the other."""
    names = signature(load_windows).parameters
    for name in loading:
        check_name(name, names, "prepare() and load_windows() take no argument")
    if is_cut(recording):
        return [load_windows(recording, **loading)]
    seconds = model.n_times / target_rate(model)
    options = {name: loading.get(name, names[name].default) for name in Plan.__dataclass_fields__}
    if options["tmax"] is None and not isinstance(recording, mne.BaseEpochs):
        options["tmax"] = options["tmin"] + seconds
    for name in ("info", "unit"):
        refuse("belong to arrays", **{name: loading.get(name)})
    return load_parts(recording, loading.get("subjects"), Plan(**options), loading.get("table"))


def resample(windows: Windows, model: EEGModel) -> Windows:
    """Bring windows to the rate and the length of a model, with the signal around them."""
    sfreq, own, n_times = target_rate(model), windows.sfreq, windows.data.shape[-1]
    # Epochs of mne hold both ends of their interval.
    if n_times == round(model.n_times / sfreq * own) + 1:
        windows = replace(windows, data=windows.data[..., :-1])
        windows = note(windows, "windows", "The sample at the end of the interval left out.")
    rates = f"{own:g} to {sfreq:g} Hz" if own != sfreq else f"{sfreq:g} Hz already"
    data = windows.data
    if own != sfreq:
        n_around = windows.n_around
        # As much around as is a whole number of samples at both rates.
        step = Fraction(own).limit_denominator(1000) / Fraction(sfreq).limit_denominator(1000)
        n_used = n_around - n_around % step.numerator
        wide = windows.wide[..., n_around - n_used :][..., : data.shape[-1] + 2 * n_used] if n_used else data
        wide = resample_each(wide, own, sfreq)
        n_cut = round(n_used * sfreq / own)
        data = wide[..., n_cut : wide.shape[-1] - n_cut]
        info = windows.info.copy()
        with info._unlock():
            info["sfreq"] = float(sfreq)
            info["lowpass"] = min(info["lowpass"], sfreq / 2)
        windows = replace(windows, info=info)
        if not n_used:
            rates += "; without the signal around the windows, which costs precision at their ends"
    if data.shape[-1] != model.n_times:
        raise ValueError(
            f"{type(model).__name__} was built for windows of {model.n_times} samples at {sfreq:g} Hz, got "
            f"{data.shape[-1]}. Build it with n_times={data.shape[-1]}, or load windows of "
            f"{model.n_times / sfreq:g} s."
        )
    if sfreq != model.contract.sfreq:
        rates += f"; the model was built for this rate, its weights are made for {model.contract.sfreq:g} Hz"
    return note(replace(windows, data=np.ascontiguousarray(data), wide=None), "rate", rates + ".")


def resample_each(
    data: Float[np.ndarray, "n_windows n_chans n_own"], own: float, sfreq: float
) -> Float[np.ndarray, "n_windows n_chans n_times"]:
    """Resample a few windows at a time, because it happens in double precision."""
    resampled = np.empty((*data.shape[:2], round(data.shape[-1] * sfreq / own)), np.float32)
    for rows in np.array_split(np.arange(len(data)), max(1, min(len(data), data.size // N_AT_ONCE))):
        wide = data[rows].astype(np.float64)
        resampled[rows] = mne.filter.resample(wide, up=sfreq, down=own, verbose="error")
    return resampled


def scale(windows: Windows, model: EEGModel) -> Windows:
    """Bring windows to the unit of a model, and certify what they are now."""
    contract = model.contract
    if windows.band is not None and windows.band != contract.band:
        windows = note(windows, "filter", f"In pretraining: {contract.facts()['filter']}.")
    windows = note(windows, "unit", f"{contract.unit}: microvolts times {contract.scale:g}.")
    stamp = Stamp(
        sfreq=target_rate(model),
        unit=contract.unit,
        reference=contract.reference,
        ch_names=tuple(spell_channel(name) for name in windows.ch_names),
        n_times=windows.data.shape[-1],
        band=windows.band,
        notch=windows.notch,
    )
    data = windows.data * np.float32(contract.scale)
    return replace(windows, data=data, unit=contract.unit, stamp=stamp)


def target_rate(model: EEGModel) -> float:
    """Rate in Hz that a model was built for, or else that of its contract."""
    return float(model.contract.sfreq if model.arguments["sfreq"] is None else model.sfreq)


def check_choice(argument: str, value: str, choices: Sequence[str]) -> None:
    """Refuse a value that is none of the choices."""
    if value not in choices:
        raise ValueError(f"{argument} must be one of {', '.join(choices)}, got {value!r}.")
