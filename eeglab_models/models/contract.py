"""What a model expects of its input, as its authors trained it."""

from dataclasses import dataclass
from typing import Literal

# Order of the 19 channels of the Temple corpus in the preprocessing that CodeBrain and EEG-DINO follow.
TEMPLE_CHANNELS = (
    *("Fp1", "Fp2", "F3", "F4", "C3", "C4", "P3", "P4", "O1", "O2"),
    *("F7", "F8", "T7", "T8", "P7", "P8", "Fz", "Cz", "Pz"),
)


@dataclass(frozen=True)
class Contract:
    """Rate, unit and channels that published weights of a model were trained with.

    Attributes
    ----------
    sfreq : float
        Sampling frequency in Hz.
    unit : str
        Name of the unit.
    scale : float
        Factor from microvolts to that unit.
    reference : str
        ``"average"`` if the mean over channels has to be removed, ``"any"`` otherwise.
    ch_names : tuple of str or None
        Channels of the published weights in their order, None where a model has no order of its own.
    source : str
        Where this is stated, and what is not known for certain.
    """

    sfreq: float
    unit: str
    scale: float
    reference: Literal["average", "any"]
    ch_names: tuple[str, ...] | None
    source: str
