"""Names and positions of electrodes: which channels of a recording lie on the scalp, and where."""

import re
from functools import cache

import mne
import numpy as np
from jaxtyping import Float

__all__ = ["electrode_name", "montage"]

# Names of the 10-20 system that were replaced by those of the 10-10 system.
OLD_NAMES = {"T3": "T7", "T4": "T8", "T5": "P7", "T6": "P8"}
# What electrodes are recorded against: ears, mastoids, or a mixture.
REFERENCES = {"A1", "A2", "M1", "M2"}
PREFIX = re.compile(r"^(EEG|POL)[ _:-]+", re.IGNORECASE)
REFERENCE = re.compile(r"(?<=.)[-:_ ]+(REF|LE|AR|AV|AVG|CAR|A1|A2|M1|M2|A1A2|M1M2)$", re.IGNORECASE)
# Beginnings of the names of signals that files often call EEG.
OTHER = re.compile(
    r"(EEG[ _:-]*)?([HV]?EOG?[LRUD\d]*$|[HV]?EOG|[EK]KG|ECG|EMG|EXG|LOC|ROC|RESP|PHOTIC|SA?P?O2|PULSE|PLET"
    r"|PPG|GSR|EDA|TEMP|IBI|BURSTS|SUPPR|STI|STATUS|TRIG|MARK|EVENT|ANNOTATION|DC\d|ACC|GYRO|MAG[XYZ]|QUAT"
    r"|COUNTER|TIME|BATT|AUX|CQ_|TARGET|CURSOR|MASTOID|SNORE|FLOW|THOR|ABDO|HR$)",
    re.IGNORECASE,
)


@cache
def montage() -> mne.channels.DigMontage:
    """Positions of the 10-05 system on a sphere, in metres.

    Returns
    -------
    montage : mne.channels.DigMontage
        All electrodes with their names.
    """
    return mne.channels.make_standard_montage("spherical_1005")


@cache
def template() -> dict[str, Float[np.ndarray, " 3"]]:
    """Positions of the 10-05 system on an average head, in metres, in mne's head frame."""
    placed = mne.create_info(montage().ch_names, 1.0, "eeg")
    placed.set_montage("standard_1005", on_missing="ignore", verbose="error")
    return positions(placed)


def positions(info: mne.Info) -> dict[str, Float[np.ndarray, " 3"]]:
    """List where channels lie, in metres, of those that say so."""
    found = {channel["ch_name"]: channel["loc"][:3] for channel in info["chs"]}
    return {name: place for name, place in found.items() if np.isfinite(place).all() and place.any()}


@cache
def known_names() -> dict[str, str]:
    """Spell every electrode of the 10-05 system, by its name in upper case."""
    return {name.upper(): name for name in montage().ch_names} | OLD_NAMES


def electrode_name(name: str) -> str | None:
    """Find the electrode of the 10-05 system that a channel's name means.

    Parameters
    ----------
    name : str
        Name as a file or a data set spells it: ``"EEG Fp1-REF"``, ``"POL C3"``, ``"Fc5."``, ``"T3"``.

    Returns
    -------
    electrode : str or None
        Its present name, ``"Fp1"``, ``"C3"``, ``"FC5"``, ``"T7"``; None if it is no single electrode.
    """
    bare = PREFIX.sub("", name.strip())
    bare = REFERENCE.sub("", bare.strip(". "))
    return known_names().get(bare.strip(". ").upper())


def spell_channel(name: str) -> str:
    """Give a channel the name of its electrode, or leave the name as it is."""
    return electrode_name(name) or name


def sort_channels(info: mne.Info) -> tuple[list[str], dict[str, str], list[str]]:
    """Part channels into electrodes of the scalp, others with the reason, and those that nobody can tell."""
    scalp, others, unknown = [], {}, []
    # BioSemi's caps call electrodes A1 to A32.
    placed = positions(info)
    by_letter = {"A3", "A4"} <= set(info["ch_names"])
    kinds = info.get_channel_types() if info["chs"] else []
    for channel, kind in zip(info["chs"], kinds, strict=True):
        name = channel["ch_name"]
        bare = PREFIX.sub("", name.strip()).strip(". ").upper()
        if kind != "eeg":
            others[name] = kind
        elif name in info["bads"]:
            others[name] = "marked bad"
        elif REFERENCES.issuperset(bare.split("-")) and not by_letter:
            others[name] = "a reference"
        elif name in placed or (electrode_name(name) and bare not in REFERENCES):
            scalp.append(name)
        elif OTHER.match(name.strip()) or OTHER.match(bare):
            others[name] = "not EEG by its name"
        else:
            unknown.append(name)
    return scalp, others, unknown
