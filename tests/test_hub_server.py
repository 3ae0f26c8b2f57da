"""Pushing to a Hub and loading from it; the Hub runs on 127.0.0.1.

huggingface_hub reads its settings once, at import, so the models live in a process of their own.
"""

import os
import subprocess
import sys
from pathlib import Path

import hub_server

SCRIPT = """
import torch
import eeglab_models
from references.cases import CASES
from references.compare import build

for case in CASES:
    if case.name == "default":
        model = build(case)
        x = case.scale * torch.randn(2, model.n_chans, model.n_times)
        model.push_to_hub(f"lab/{case.model}", token="hf_secret")
        loaded, report = type(model).from_pretrained(f"lab/{case.model}", return_report=True)
        torch.testing.assert_close(loaded(x), model(x), rtol=0, atol=0)
        assert not report.new, report

for arguments, sentence in (
    (("lab/EEGDINO",), "'lab/EEGDINO' holds no nothing.safetensors"),
    (("lab/Nothing",), "neither a folder nor a readable Hub repository"),
):
    try:
        eeglab_models.EEGDINO.from_pretrained(*arguments, filename="nothing.safetensors")
    except FileNotFoundError as error:
        assert sentence in str(error), error
    else:
        raise AssertionError("what is missing was not noticed")
"""


def test_models_travel_through_a_hub(tmp_path):
    environment = os.environ | {
        "HF_ENDPOINT": hub_server.start(),
        "HF_HOME": str(tmp_path),
        "HF_HUB_DISABLE_XET": "1",
        "HF_HUB_OFFLINE": "0",
        "NO_PROXY": "127.0.0.1",
    }

    done = subprocess.run(
        [sys.executable, "-c", SCRIPT],
        cwd=Path(__file__).parent,
        env=environment,
        capture_output=True,
        text=True,
    )

    assert done.returncode == 0, done.stderr[-2000:]
