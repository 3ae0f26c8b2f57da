"""From a model to a result: features, probes and honest scores."""

from eeglab_models.adapting.baselines import baselines
from eeglab_models.adapting.chance import chance_level, check_leakage, permutation_chance_level
from eeglab_models.adapting.embeddings import extract_features, extract_layers, layer_names
from eeglab_models.adapting.finetuning import FineTuner
from eeglab_models.adapting.probing import (
    EEGPTProbe,
    FeatureExtractor,
    align,
    linear_probe,
    probe_layers,
)
from eeglab_models.adapting.recipes import lightconvnet_recipe
from eeglab_models.adapting.scoring import (
    Comparison,
    accuracy_interval,
    compare,
    mean_interval,
    score_folds,
    score_pipelines,
    summarise,
)

__all__ = [
    "Comparison",
    "EEGPTProbe",
    "FeatureExtractor",
    "FineTuner",
    "accuracy_interval",
    "align",
    "baselines",
    "chance_level",
    "check_leakage",
    "compare",
    "extract_features",
    "extract_layers",
    "layer_names",
    "lightconvnet_recipe",
    "linear_probe",
    "mean_interval",
    "permutation_chance_level",
    "probe_layers",
    "score_folds",
    "score_pipelines",
    "summarise",
]
