"""Models of EEG windows: each class states its parts, tokens, head and loading in its own file.

Other rooms import the classes, `known_models` and what all models can do from here, and the parts of one
model from its file only where they train it. Layers with parameters that two parts share stand in
`patching` and `regularization`. This room imports `files` and `configs` alone.
"""

from eeglab_models.models.base import EEGModel, known_models
from eeglab_models.models.codebrain import CodeBrain
from eeglab_models.models.eegdino import EEGDINO
from eeglab_models.models.eegpt import EEGPT
from eeglab_models.models.fblightconvnet import FBLightConvNet

__all__ = ["EEGDINO", "EEGPT", "CodeBrain", "EEGModel", "FBLightConvNet", "known_models"]
