"""EEG deep learning to teach from and to publish with: models, signals, and what is done with them."""

from eeglab_models.models.codebrain import CodeBrain
from eeglab_models.models.eegdino import EEGDINO, EEGDINO_CONFIGS
from eeglab_models.models.eegpt import EEGPT
from eeglab_models.models.fblightconvnet import FBLightConvNet
from eeglab_models.moved import put_up
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

put_up()
