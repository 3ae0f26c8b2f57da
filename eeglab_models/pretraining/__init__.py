"""Pretraining without labels: three objectives, their data, and one loop."""

from eeglab_models.pretraining.alignment import MaskedAlignment
from eeglab_models.pretraining.code_prediction import CodePrediction, check_codebooks
from eeglab_models.pretraining.configuration import read_configuration, ready_configurations
from eeglab_models.pretraining.corpus import Corpus
from eeglab_models.pretraining.corpus_building import RECIPES, build_corpus
from eeglab_models.pretraining.loop import pretrain
from eeglab_models.pretraining.self_distillation import SelfDistillation
from eeglab_models.pretraining.settings import Settings
from eeglab_models.pretraining.tokenizer import TFDualTokenizer

__all__ = [
    "RECIPES",
    "CodePrediction",
    "Corpus",
    "MaskedAlignment",
    "SelfDistillation",
    "Settings",
    "TFDualTokenizer",
    "build_corpus",
    "check_codebooks",
    "pretrain",
    "read_configuration",
    "ready_configurations",
]
