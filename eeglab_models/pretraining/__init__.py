"""Pretraining without labels: four objectives, their data, and configurations that train them.

Each model has a folder with its objective, which keeps the promise in `objective`; `corpus` holds
recordings on disk; `configuration` reads YAML, such as that in `configs`, and runs it. Import what is named
below from here. This room knows models, signals and training, and no room beside or above it.
"""

from eeglab_models.pretraining.codebrain.code_prediction import CodePrediction, check_codebooks
from eeglab_models.pretraining.codebrain.tokenizer import TFDualTokenizer
from eeglab_models.pretraining.configuration import read_configuration, ready_configurations
from eeglab_models.pretraining.corpus.building import RECIPES, build_corpus
from eeglab_models.pretraining.corpus.reading import Corpus
from eeglab_models.pretraining.eegdino.self_distillation import SelfDistillation
from eeglab_models.pretraining.eegpt.alignment import MaskedAlignment
from eeglab_models.pretraining.spectra import MaskedSpectra

__all__ = [
    "RECIPES",
    "CodePrediction",
    "Corpus",
    "MaskedAlignment",
    "MaskedSpectra",
    "SelfDistillation",
    "TFDualTokenizer",
    "build_corpus",
    "check_codebooks",
    "read_configuration",
    "ready_configurations",
]
