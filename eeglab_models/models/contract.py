"""What each model expects of its input, as its authors trained it, and who says so."""

import textwrap
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from types import MappingProxyType
from typing import Literal

from eeglab_models.models.channels import EEGPT_CHANNELS, TEMPLE_CHANNELS
from eeglab_models.text import to_html

__all__ = ["Contract"]


@dataclass(frozen=True)
class Contract:
    """Rate, unit, channels and length of the windows that a model was made for.

    A contract prints as a table, and renders as one in a notebook.

    Attributes
    ----------
    model, unit : str
        Name of the model, and of the unit of its input.
    sfreq, scale : float
        Sampling frequency in Hz, and factor from microvolts to that unit.
    reference : {"average", "any"}
        ``"average"`` if the mean over channels has to be removed.
    band : tuple of (float or None, float or None)
        Pass band in Hz of the preprocessing, None where it is open.
    notch : float or None
        Mains frequency in Hz that the preprocessing removed, None for no notch filter.
    window, patch : float
        Length of a window and of a patch in seconds.
    ch_names : tuple of str or None
        Channels of the published weights in their order, None where a model has no order of its own.
    channels_known_by : {"name", "slot", "position", "projection"}
        How the model tells channels apart: by an embedding of their names, by an embedding of their slots,
        by their order alone, or by filters that it learns for one montage.
    fewer, more, unknown : str
        What happens with fewer channels than `ch_names`, with more, and with channels of other names.
    sources : mapping of str to str
        Where each fact is stated, by the names that `facts` uses.
    open_questions : tuple of str
        What is disputed or not known.
    """

    model: str
    sfreq: float
    unit: str
    scale: float
    reference: Literal["average", "any"]
    band: tuple[float | None, float | None]
    notch: float | None
    window: float
    patch: float
    ch_names: tuple[str, ...] | None
    channels_known_by: Literal["name", "slot", "position", "projection"]
    fewer: str
    more: str
    unknown: str
    sources: Mapping[str, str]
    open_questions: tuple[str, ...] = ()

    def __post_init__(self) -> None:
        """Freeze the sources too."""
        object.__setattr__(self, "sources", MappingProxyType(dict(self.sources)))

    def facts(self) -> dict[str, str]:
        """Say every fact in words, by its name.

        Returns
        -------
        facts : dict of str
            The same names, in the same order, for every model.
        """
        low, high = self.band
        band = "none" if (low, high) == (None, None) else f"{low or 0:g} to {high:g} Hz"
        return {
            "sampling rate": f"{self.sfreq:g} Hz",
            "unit": f"{self.unit}: microvolts times {self.scale:g}",
            "reference": "average over channels" if self.reference == "average" else "that of the recording",
            "filter": band + (f", notch {self.notch:g} Hz" if self.notch else ""),
            "window": f"{self.window:g} s",
            "patch": f"{self.patch:g} s, {round(self.patch * self.sfreq)} samples",
            "channels": "any"
            if self.ch_names is None
            else f"{len(self.ch_names)}: {' '.join(self.ch_names)}",
            "channels known by": self.channels_known_by,
            "fewer channels": self.fewer,
            "more channels": self.more,
            "unknown channels": self.unknown,
        }

    def channel_ids(self, ch_names: Sequence[str]) -> tuple[int, ...]:
        """Look up which of the model's channels each name is.

        Parameters
        ----------
        ch_names : sequence of str
            Names as in `ch_names`; upper and lower case are the same.

        Returns
        -------
        channel_ids : tuple of int
            Their positions in `ch_names`, for models that take explicit channel ids.

        Raises
        ------
        ValueError
            If the model has no channels of its own, or if a name is not among them.
        """
        known = {name.upper(): index for index, name in enumerate(self.ch_names or ())}
        unknown = [name for name in ch_names if name.upper() not in known]
        if unknown:
            has = f"knows {', '.join(self.ch_names)}" if self.ch_names else "knows no channel by name"
            raise ValueError(f"{self.model} {has}; got {', '.join(unknown)}. Leave these channels out.")
        return tuple(known[name.upper()] for name in ch_names)

    def __str__(self) -> str:
        """Print facts, sources and open questions as a table of 100 columns."""
        lines = [f"{self.model} expects"]
        for name, value in self.facts().items():
            source = f" [{self.sources[name]}]" if name in self.sources else ""
            lines += textwrap.wrap(
                value + source, 100, initial_indent=f"  {name:<18}", subsequent_indent=20 * " "
            )
        for question in self.open_questions:
            lines += textwrap.wrap(
                question, 100, initial_indent="  open:             ", subsequent_indent=20 * " "
            )
        return "\n".join(lines)

    def _repr_html_(self) -> str:
        rows = [(name, value, self.sources.get(name, "")) for name, value in self.facts().items()]
        rows += [("open", question, "") for question in self.open_questions]
        return to_html(rows, f"{self.model} expects", ("fact", "value", "source"))


CODEBRAIN_CONTRACT = Contract(
    model="CodeBrain",
    sfreq=200.0,
    unit="µV/100",
    scale=0.01,
    reference="any",
    band=(0.3, 75.0),
    notch=60.0,
    window=30.0,
    patch=1.0,
    ch_names=TEMPLE_CHANNELS,
    channels_known_by="position",
    fewer="make a shorter sequence: the first places in order, or channel_ids",
    more="make a longer sequence; the weights saw at most 570 patches",
    unknown="take the place that they are given",
    sources={
        "sampling rate": "authors' training code",
        "unit": "authors' training code",
        "filter": "preprocessing of CBraMod, which the code follows",
        "window": "authors' training code",
        "patch": "authors' training code",
        "channels": "preprocessing of CBraMod; assumed, the authors do not list them",
    },
    open_questions=(
        "The notch is 60 Hz in CBraMod's script, 50 Hz in a third party's audit of the paper.",
        "No source names a reference; the Temple corpus has several.",
    ),
)
EEGDINO_CONTRACT = Contract(
    model="EEGDINO",
    sfreq=200.0,
    unit="µV/100",
    scale=0.01,
    reference="any",
    band=(0.3, 75.0),
    notch=60.0,
    window=30.0,
    patch=1.0,
    ch_names=TEMPLE_CHANNELS,
    channels_known_by="slot",
    fewer="take the first slots in order, or those of channel_ids",
    more="are refused; n_channel_embeddings adds slots, which are untrained",
    unknown="take the slot of their position",
    sources={
        "sampling rate": "model card of the published weights",
        "unit": "model card of the published weights",
        "filter": "preprocessing of CBraMod, according to the model card",
        "window": "third-party reconstruction of the training",
        "patch": "published weights",
        "channels": "number: published weights; order: assumed from CBraMod",
    },
    open_questions=(
        "The order of the slots is not documented. A second candidate is Fp1 Fp2 F7 F3 Fz F4 F8 T7 C3 Cz C4 "
        "T8 P7 P3 Pz P4 P8 O1 O2.",
        "Number of heads: 8 in the published ports of all sizes, 16 in another for medium and large; no "
        "weight's shape tells.",
        "No source names a reference.",
    ),
)
EEGPT_CONTRACT = Contract(
    model="EEGPT",
    sfreq=256.0,
    unit="mV",
    scale=0.001,
    reference="average",
    band=(None, None),
    notch=None,
    window=4.0,
    patch=0.25,
    ch_names=EEGPT_CHANNELS,
    channels_known_by="name",
    fewer="any named subset works",
    more="are mixed into 19 by a projection that has to be learned",
    unknown="need the projection; without it they take the row of their position, with a warning",
    sources={
        "sampling rate": "paper, section 3.1",
        "unit": "paper, section 3.1, and authors' code",
        "reference": "paper, section 3.1",
        "filter": "authors' code: none in pre-training, 0 to 38 Hz for their motor imagery tasks",
        "window": "paper, section 3.2",
        "patch": "paper, section 3.2: without overlap; the class's default stride of 32 overlaps by half",
        "channels": "authors' code; AF7, AF8, PO5 and PO6 were not part of the pre-training",
    },
    open_questions=(
        "Windows of two of the five corpora may have been stretched in time: the released script leaves "
        "their lengths at defaults that do not fit.",
    ),
)
FBLIGHTCONVNET_CONTRACT = Contract(
    model="FBLightConvNet",
    sfreq=250.0,
    unit="µV",
    scale=1.0,
    reference="any",
    band=(None, None),
    notch=None,
    window=4.0,
    patch=1.0,
    ch_names=None,
    channels_known_by="projection",
    fewer="need a model trained for them",
    more="need a model trained for them",
    unknown="are as good as any: spatial filters learn the montage",
    sources={
        "sampling rate": "paper and authors' code",
        "unit": "authors' code",
        "filter": "authors' code; the model's own bank passes 4 to 40 Hz",
        "window": "authors' code: from the cue",
        "patch": "paper: temporal segmentation",
        "channels": "authors' code: 22 for BCI Competition IV 2a, 20 for OpenBMI",
    },
    open_questions=(
        "The authors filter causally with Chebyshev filters; the class's default is a zero-phase FIR bank.",
    ),
)
