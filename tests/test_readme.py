"""What the README shows works."""

import re
from pathlib import Path

import mne
import numpy as np
import pytest

from eeglab_models import EEGDINO, EEGPT, CodeBrain, FBLightConvNet

ROOT = Path(__file__).parents[1]
README = (ROOT / "README.md").read_text()


def test_the_lines_for_an_own_recording_run(tmp_path):
    (snippet,) = re.findall(r"```python\n(import torch.*?)```", README, flags=re.DOTALL)
    signal = np.random.default_rng(0).normal(0, 20e-6, (3, 5000))
    raw = mne.io.RawArray(signal, mne.create_info(["C3", "Cz", "C4"], 250.0, "eeg"), verbose="error")
    raw.set_annotations(mne.Annotations([2, 8], 4.0, ["left", "right"]))
    raw.save(tmp_path / "recording_raw.fif", verbose="error")
    names = {}

    exec(snippet.replace('"recording.edf"', repr(str(tmp_path / "recording_raw.fif"))), names)

    assert names["features"].shape == (2, 16, 2048)


def test_every_make_command_exists():
    makefile = (ROOT / "Makefile").read_text()
    commands = set(
        re.findall(r"make (demo|test|lint|lab|bench|\w+)(?=[`\s]*$| P)", README, flags=re.MULTILINE)
    )

    assert {"demo", "test"} <= commands
    for command in commands:
        assert re.search(rf"^{command}:", makefile, flags=re.MULTILINE), command


def test_every_notebook_is_listed():
    for path in (ROOT / "notebooks").glob("*.ipynb"):
        assert f"({path.relative_to(ROOT)})" in README


@pytest.mark.parametrize("link", re.findall(r"\]\((?!http)([^)]+)\)", README))
def test_links_lead_somewhere(link):
    assert (ROOT / link).exists()


def test_the_table_of_contracts_is_that_of_the_classes():
    rows = {line.split(" | ")[0].strip("| "): line for line in README.splitlines() if line.startswith("| ")}

    for fact in EEGPT.contract.facts():
        for model in (CodeBrain, EEGPT, EEGDINO, FBLightConvNet):
            assert model.contract.facts()[fact][:24] in rows[fact], (fact, model)
