"""Shared fixtures; shape annotations of the package are enforced while testing."""

import os
import sys

# Read when the libraries are imported: no test may reach a network, or a second thread pool.
os.environ.setdefault("HF_HUB_OFFLINE", "1")
os.environ.setdefault("HF_HUB_DISABLE_TELEMETRY", "1")
os.environ.setdefault("HF_HUB_DISABLE_PROGRESS_BARS", "1")
os.environ.setdefault("MOABB_DOWNLOAD_PROVIDER", "upstream")
# Figures need no screen.
os.environ.setdefault("MPLBACKEND", "agg")

from jaxtyping import install_import_hook

# Must run before the first import of the package.
install_import_hook("eeglab_models", "shape_checking.check")

import pytest  # noqa: E402
import torch  # noqa: E402
from hypothesis import settings  # noqa: E402

# A busy computer is no failure.
settings.register_profile("patient", deadline=None)
settings.load_profile("patient")

LONGEST = ("test_fuzzing", "test_kills", "test_quickstart", "test_sweep")


def pytest_collection_modifyitems(items):
    """Begin with the files that take longest, so that no process waits for another at the end."""
    items.sort(key=lambda item: item.path.stem not in LONGEST)


@pytest.fixture(autouse=True)
def _seed():
    torch.manual_seed(0)


@pytest.fixture(autouse=True)
def _close_figures():
    yield
    # Most tests draw nothing, and importing matplotlib would cost them a second.
    if "matplotlib.pyplot" in sys.modules:
        sys.modules["matplotlib.pyplot"].close("all")
