"""Cut the recordings of this folder out of PhysioNet's original files, and hash them.

    python data/recordings/make.py MNE_DATA EEGMAT

`MNE_DATA` is mne's folder of data with EEGMMIDB in it, as `mne.datasets.eegbci.load_data` fills it; `EEGMAT`
holds PhysioNet's files, as ``Subject18_1.edf``. Samples of EEGMMIDB stay as they are, bit for bit; those of
EEGMAT are resampled to 200 Hz if they are not, and rounded to 0.1 µV. Channels have their names of today,
and events say what they are.
"""

import argparse
from pathlib import Path

import edfio
import numpy as np
from mne.filter import resample

from eeglab_models.files import hash_file
from eeglab_models.models.channels import TEMPLE_CHANNELS
from eeglab_models.signals.shipped import SUMS, RealArithmetic, RealEyes, RealMotorImagery
from eeglab_models.signals.simulation import BNCI2014_001_CHANNELS

HERE = Path(__file__).parent
IMAGERY, EYES, ARITHMETIC = RealMotorImagery.people, RealEyes.people, RealArithmetic.people
RUNS = {1: "eyes_open", 2: "eyes_closed", 4: "imagery", 8: "imagery", 12: "imagery"}
CUES = {"T0": "rest", "T1": "left_hand", "T2": "right_hand"}
FORMER = {"T3": "T7", "T4": "T8", "T5": "P7", "T6": "P8"}
# Microvolts to which EEGMAT is rounded, and seconds between two events of a state that lasts.
STEP, STATE = 0.1, 4.0


def cut_eegmmidb(source: Path, target: Path, kind: str) -> None:
    """Keep the channels that the models need, with the digits of the original."""
    edf = edfio.read_edf(source)
    for signal in edf.signals:
        signal.label = rename(signal.label.rstrip("."))
    kept = {*TEMPLE_CHANNELS, *BNCI2014_001_CHANNELS}
    edf.drop_signals([name for name in edf.labels if name not in kept])
    if kind == "imagery":
        annotations = [edfio.EdfAnnotation(a.onset, a.duration, CUES[a.text]) for a in edf.annotations]
    else:
        annotations = mark(kind, edf.duration)
    edf.set_annotations(annotations)
    edf.write(target)


def cut_eegmat(source: Path, target: Path, label: str) -> None:
    """Keep the last minute of the EEG, at 200 Hz."""
    edf = edfio.read_edf(source)
    signals = []
    for signal in edf.signals:
        name = rename(signal.label.removeprefix("EEG "))
        if name not in TEMPLE_CHANNELS:
            continue
        microvolts = signal.data
        if signal.sampling_frequency != 200:
            microvolts = resample(microvolts, up=200, down=signal.sampling_frequency, method="polyphase")
        # The files end with two seconds of zeros.
        microvolts = STEP * np.round(microvolts[-62 * 200 : -2 * 200] / STEP)
        signals.append(
            edfio.EdfSignal(
                microvolts,
                200,
                label=name,
                physical_dimension="uV",
                physical_range=(-32767 * STEP, 32767 * STEP),
                digital_range=(-32767, 32767),
            )
        )
    edfio.Edf(signals, annotations=mark(label, 60.0)).write(target)


def rename(name: str) -> str:
    """Give the name that an electrode has today, as the 10-05 system spells it."""
    known = {known.upper(): known for known in (*TEMPLE_CHANNELS, *BNCI2014_001_CHANNELS)}
    return known.get(FORMER.get(name, name).upper(), name)


def mark(label: str, duration: float) -> list[edfio.EdfAnnotation]:
    """Place events through a state that lasts, one after the other."""
    return [
        edfio.EdfAnnotation(onset, STATE, label) for onset in np.arange(0, duration - STATE + 1e-6, STATE)
    ]


def main() -> None:
    """Make all files, and the list of their hashes."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("mne_data", type=Path)
    parser.add_argument("eegmat", type=Path)
    options = parser.parse_args()
    eegmmidb = options.mne_data / "MNE-eegbci-data/files/eegmmidb/1.0.0"
    for run, kind in RUNS.items():
        for subject in IMAGERY if kind == "imagery" else EYES:
            name = f"S{subject:03d}R{run:02d}.edf"
            cut_eegmmidb(eegmmidb / f"S{subject:03d}" / name, HERE / name, kind)
    for subject in ARITHMETIC:
        for part, label in ((1, "resting"), (2, "arithmetic")):
            name = f"Subject{subject:02d}_{part}.edf"
            cut_eegmat(options.eegmat / name, HERE / name, label)
    sums = [f"{hash_file(path)}  {path.name}\n" for path in sorted(HERE.glob("*.edf"))]
    (HERE / SUMS).write_text("".join(sums), encoding="utf-8")


if __name__ == "__main__":
    main()
