"""Names and positions of electrodes: the 10-20 system, its generations and its spellings."""

import re
from functools import cache

import mne

__all__ = ["electrode_name", "is_eeg", "montage"]

# Names of the 10-20 system that were replaced by those of the 10-10 system.
OLD_NAMES = {"T3": "T7", "T4": "T8", "T5": "P7", "T6": "P8"}
# What electrodes are recorded against: ears, mastoids, or a mixture.
REFERENCES = {"A1", "A2", "M1", "M2"}
REFERENCE = re.compile(r"(?<=.)[-:_ ]+(REF|LE|AR|AV|AVG|CAR|A1|A2|M1|M2|A1A2|M1M2)$", re.IGNORECASE)
OTHER = re.compile(
    r"(EEG[ _:-]*)?([HV]?EOG|[EK]KG|ECG|EMG|LOC|ROC|RESP|PHOTIC|SPO2|PULSE|PPG|GSR|EDA|TEMP|IBI|BURSTS|SUPPR"
    r"|STI|STATUS|TRIG|MARKER|EVENT|ANNOTATION|DC)",
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
def known_names() -> dict[str, str]:
    """Spell every electrode of the 10-05 system, by its name in upper case."""
    return {name.upper(): name for name in montage().ch_names} | OLD_NAMES


def electrode_name(name: str) -> str | None:
    """Find the electrode of the 10-05 system that a channel's name means.

    Parameters
    ----------
    name : str
        Name as a file or a data set spells it: ``"EEG Fp1-REF"``, ``"Fc5."``, ``"T3"``, ``"cz"``.

    Returns
    -------
    electrode : str or None
        Its present name, ``"Fp1"``, ``"FC5"``, ``"T7"``, ``"Cz"``; None if it is no single electrode.
    """
    bare = re.sub(r"^EEG[ _:-]+", "", name.strip(), flags=re.IGNORECASE)
    bare = REFERENCE.sub("", bare.strip(". "))
    return known_names().get(bare.strip(". ").upper())


def spell_channel(name: str) -> str:
    """Spell a channel as its electrode is spelt now; what is no electrode keeps its name."""
    return electrode_name(name) or name


def is_eeg(name: str) -> bool:
    """Tell whether the name of a channel that a file calls EEG says otherwise.

    Parameters
    ----------
    name : str
        Name as a file spells it.

    Returns
    -------
    is_eeg : bool
        False for the heart, eyes, muscles, breath and triggers, and for one reference against another.
    """
    parts = re.sub(r"^EEG[ _:-]+", "", name.strip(), flags=re.IGNORECASE).upper().split("-")
    only_references = len(parts) == 2 and REFERENCES.issuperset(parts)
    return not only_references and OTHER.match(name.strip()) is None
