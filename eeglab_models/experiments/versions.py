"""Which code gave a result: hashes of what decides it, whatever else was changed."""

import hashlib
import json
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from eeglab_models.configs import read_record

PACKAGE = Path(__file__).parents[1]
# Rooms whose code decides no result: what a notebook computes is the same without them.
NOT_DECIDING = ("experiments", "plotting", "workshop", "__main__.py", "moved.py")


@dataclass(frozen=True)
class Metadata:
    """What matters of a cell's metadata."""

    tags: list[str] = field(default_factory=list)


@dataclass(frozen=True)
class Cell:
    """What a cell of a notebook has to say."""

    cell_type: str
    source: str | list[str]
    metadata: Metadata


def read_cells(notebook: Path) -> list[dict[str, Any]]:
    """Read the cells of a notebook, without running any."""
    return read_record(notebook, {"cells": list[Cell]})["cells"]


def code_version(notebook: Path) -> str:
    """Hash what decides a result: the package's source and the notebook's code, in 12 hexadecimal digits.

    A commit that changes neither, or that only records what was tried before, leaves it as it is.
    """
    cells = read_cells(notebook)
    code = ["".join(cell["source"]) for cell in cells if cell["cell_type"] == "code"]
    return hashlib.sha256(f"{source_version()}{json.dumps(code)}".encode()).hexdigest()[:12]


def source_version() -> str:
    """Hash the package's source, without the rooms that decide no result."""
    digest = hashlib.sha256()
    for path in sorted(PACKAGE.rglob("*.py")):
        parts = path.relative_to(PACKAGE).parts
        if parts[0] not in NOT_DECIDING:
            digest.update("/".join(parts).encode() + b"\n" + path.read_bytes())
    return digest.hexdigest()
