"""Files that are not whole: shorter or longer than their headers tell, or with gaps."""

import re
import warnings
from pathlib import Path
from typing import NamedTuple

import numpy as np


def check_size(path: Path) -> None:
    """Hold EDF, BDF and BrainVision files against the length that their headers tell."""
    kind = path.suffix.lower()
    if kind not in (".edf", ".bdf", ".vhdr"):
        return
    path, told = told_by_brainvision(path) if kind == ".vhdr" else (path, told_by_edf(path))
    size = path.stat().st_size
    if told is None or size == told:
        return
    if size > told:
        raise ValueError(
            f"{path} has {size:,} bytes where its header tells of {told:,}: it was altered, most likely by a "
            "transfer as text. Get it again in binary mode."
        )
    warnings.warn(
        f"{path.name} has {size:,} bytes where {told:,} are expected: it was cut short, and what is missing "
        "is in no window. Get the file again.",
        stacklevel=2,
    )


class EDFHeader(NamedTuple):
    """What the header of an EDF or BDF file tells; sizes in bytes."""

    size: int
    n_records: int
    seconds: float
    has_gaps: bool
    labels: list[bytes]
    sizes: list[int]


def read_edf_header(path: Path) -> EDFHeader | None:
    """Read the header of an EDF or BDF file; None if it is none, or if mne has to say what is wrong."""
    width = {".edf": 2, ".bdf": 3}.get(path.suffix.lower())
    if width is None:
        return None
    with open(path, "rb") as file:
        head = file.read(256)
        try:
            n_bytes, n_records, n_signals = (int(head[a:b]) for a, b in ((184, 192), (236, 244), (252, 256)))
            labels = [file.read(16).strip() for _ in range(n_signals)]
            file.seek(256 + 216 * n_signals)
            sizes = [width * int(file.read(8)) for _ in range(n_signals)]
            seconds = float(head[244:252])
        except ValueError:
            return None
    gaps = re.match(rb"(EDF|BDF)\+D", head[192:]) is not None
    return EDFHeader(n_bytes, n_records, seconds, gaps, labels, sizes)


def told_by_edf(path: Path) -> int | None:
    """Compute the bytes that an EDF or BDF file has by its header; None if that cannot be read."""
    header = read_edf_header(path)
    if header is None or header.n_records <= 0:
        return None  # the recorder was not stopped
    return header.size + header.n_records * sum(header.sizes)


def told_by_brainvision(path: Path) -> tuple[Path, int | None]:
    """Find the samples of a BrainVision header, and the bytes that they need, at least a whole frame."""
    facts = dict(re.findall(r"^(\w+)=(.*?)\s*$", path.read_text("utf-8", "replace"), re.MULTILINE))
    data = path.with_name(facts.get("DataFile", "").replace("$b", path.stem) or path.name)
    size = {"INT_16": 2, "INT_32": 4, "IEEE_FLOAT_32": 4}.get(facts.get("BinaryFormat", ""))
    if size is None or not facts.get("NumberOfChannels", "").isdigit() or not data.is_file():
        return data, None  # mne says what is wrong
    frame = size * int(facts["NumberOfChannels"])
    n_times = facts.get("DataPoints", "")
    return data, frame * (int(n_times) if n_times.isdigit() else -(-data.stat().st_size // frame))


def check_gaps(path: Path) -> None:
    """Refuse EDF+ and BDF+ files with gaps: mne joins what lies around, and misplaces events."""
    header = read_edf_header(path)
    if header is None or not header.has_gaps:
        return
    # Every record begins with its time.
    first = next((i for i, label in enumerate(header.labels) if label.endswith(b" Annotations")), 0)
    onsets = []
    with open(path, "rb") as file:
        for record in range(header.n_records):
            file.seek(256 * (len(header.labels) + 1) + record * sum(header.sizes) + sum(header.sizes[:first]))
            time = re.match(rb"[+-][\d.]+", file.read(header.sizes[first]))
            onsets += [float(time[0])] if time else []
    gaps = np.abs(np.diff(onsets) - header.seconds) > 0.01 * header.seconds
    if gaps.any():
        after = onsets[gaps.argmax()] + header.seconds - onsets[0]
        raise ValueError(
            f"{path} has {gaps.sum()} gaps, the first after {after:g} s, and events after a gap would be "
            "misplaced. Write each part to a file of its own."
        )
