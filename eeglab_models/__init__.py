"""EEG deep learning to teach from and to publish with: models, signals, and what is done with them."""

from importlib import import_module
from typing import TYPE_CHECKING, Any

from eeglab_models.moved import put_up

if TYPE_CHECKING:
    from eeglab_models.models import EEGPT, CodeBrain, FBLightConvNet
    from eeglab_models.models.eegdino import EEGDINO, EEGDINO_CONFIGS
    from eeglab_models.signals.preparation import prepare
    from eeglab_models.signals.recordings import load_windows
    from eeglab_models.signals.windows import Windows

__all__ = [
    "EEGDINO",
    "EEGDINO_CONFIGS",
    "EEGPT",
    "CodeBrain",
    "FBLightConvNet",
    "Windows",
    "load_windows",
    "prepare",
]

HOMES = {
    "EEGDINO_CONFIGS": "models.eegdino",
    "Windows": "signals.windows",
    "load_windows": "signals.recordings",
    "prepare": "signals.preparation",
}


def __getattr__(name: str) -> Any:
    """Import a name when it is asked for: commands and workers of a sweep often need no torch and no mne."""
    if name not in __all__:
        raise AttributeError(f"module {__name__!r} has no attribute {name!r}")
    return getattr(import_module(f"{__name__}.{HOMES.get(name, 'models')}"), name)


def __dir__() -> list[str]:
    """List what the package gives, imported or not."""
    return [*globals(), *__all__]


put_up()
