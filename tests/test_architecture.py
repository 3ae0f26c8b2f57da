"""Imports point one way, and importing the package stays light."""

import ast
import subprocess
import sys
from pathlib import Path

import pytest

import eeglab_models

PACKAGE = Path(__file__).parents[1] / "eeglab_models"

# A unit may import units of earlier lines, never of its own or a later one.
LAYERS = [
    {"files"},
    {"configs", "models.channels", "models.fourier", "moved", "text"},
    {
        *("models.arguments", "models.banded_attention", "models.dropout_attention"),
        "models.global_convolution",
    },
    {
        *("models.attention", "models.checkpoints", "models.contract"),
        *("models.filterbank", "models.layout", "models.patching", "models.regularization", "models.tokens"),
    },
    {"models.report"},
    {"models.download"},
    {"models.hub"},
    {"models.base"},
    {"models.codebrain", "models.eegdino", "models.eegpt", "models.fblightconvnet"},
    {"models.opening"},
    {"models.conversion"},
    {"models"},
    {"signals"},
    {"plotting", "scores", "training"},
    {"features", "interpreting", "pretraining"},
    {"finetuning"},
    {"experiments", "workshop"},
    {"__init__"},
    {"__main__"},
]
RANK = {unit: rank for rank, units in enumerate(LAYERS) for unit in units}
FILES = sorted(PACKAGE.rglob("*.py"))
OPTIONAL = [
    *("accelerate", "captum", "dask", "matplotlib.pyplot", "mne_bids", "moabb", "papermill", "peft"),
    *("pyriemann", "seaborn", "skorch", "umap", "xarray"),
]


def unit_of(*parts):
    """Name of the unit that a file or a dotted name belongs to: models one by one, else whole rooms."""
    if parts[0] == "models" and len(parts) > 1 and parts[1] != "__init__":
        return f"models.{parts[1]}"
    return parts[0]


def unit_of_file(path):
    return unit_of(*path.relative_to(PACKAGE).with_suffix("").parts)


def imported_units(source):
    """Units that `source` imports, wherever the import stands."""
    for node in ast.walk(ast.parse(source)):
        if isinstance(node, ast.ImportFrom):
            assert node.level == 0, "write imports in full: a reader sees then where a name comes from"
            names = [f"{node.module}.{alias.name}" for alias in node.names]
        elif isinstance(node, ast.Import):
            names = [alias.name for alias in node.names]
        else:
            continue
        for package, *rest in (name.split(".") for name in names):
            if package == PACKAGE.name:
                unit = unit_of(*rest) if rest else "__init__"
                yield unit if unit in RANK else "__init__"


def test_every_unit_has_a_layer():
    assert {unit_of_file(path) for path in FILES} == set(RANK)


def test_imports_point_down():
    upward = {}
    for path in FILES:
        own = unit_of_file(path)
        used = set(imported_units(path.read_text())) - {own}
        if above := sorted(unit for unit in used if RANK[unit] >= RANK[own]):
            upward[str(path.relative_to(PACKAGE))] = above

    assert upward == {}


@pytest.mark.parametrize(
    ("statement", "unit"),
    [
        ("def f():\n    from eeglab_models.plotting import x", "plotting"),
        ("def f():\n    from eeglab_models import plotting", "plotting"),
        ("def f():\n    import eeglab_models.signals.contract as c", "signals"),
        ("from eeglab_models import EEGPT", "__init__"),
        ("from eeglab_models.models import eegpt", "models.eegpt"),
    ],
)
def test_imports_are_seen_however_they_are_written(statement, unit):
    assert list(imported_units(statement)) == [unit]


@pytest.mark.parametrize(
    ("modules", "heavy"),
    [
        (["models", "signals.preparation", "signals.recordings"], OPTIONAL),
        # Commands and workers of a sweep start often.
        (["__main__", "experiments.sweep"], ["mne", "numpy", "sklearn", "torch", *OPTIONAL]),
    ],
)
def test_imports_load_no_heavy_library_that_they_may_not_need(modules, heavy):
    imports = "; ".join(f"import eeglab_models.{module}" for module in modules)
    code = f"{imports}; import sys; print([name for name in {heavy} if name in sys.modules])"

    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True)

    assert done.stdout.strip() == "[]"


def test_the_package_gives_what_it_names():
    assert set(eeglab_models.__all__) <= set(dir(eeglab_models))
    for name in eeglab_models.__all__:
        assert getattr(eeglab_models, name) is not None
    with pytest.raises(AttributeError, match="eeglab_models.*EGGPT"):
        eeglab_models.EGGPT  # noqa: B018
