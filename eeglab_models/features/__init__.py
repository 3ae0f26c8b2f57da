"""Frozen models as feature extractors: features of windows, their cache, probes and classical baselines.

`embeddings` reads features of any layer, `cache` keeps them on disk, `probing` puts linear classifiers on
them, `tabulating` writes those of a folder as a table, and `baselines` has the pipelines that every model is
held against. Import what is named below from here. This room knows models, signals and scores, and neither
fine-tuning nor pretraining.
"""

from eeglab_models.features.baselines import baselines, ridge_baselines
from eeglab_models.features.embeddings import extract_features, extract_layers, layer_names
from eeglab_models.features.probing import FeatureExtractor, align, linear_probe, probe_layers, ridge_probe
from eeglab_models.features.readout import centre, features_of
from eeglab_models.features.tabulating import embed

__all__ = [
    "FeatureExtractor",
    "align",
    "baselines",
    "centre",
    "embed",
    "extract_features",
    "extract_layers",
    "features_of",
    "layer_names",
    "linear_probe",
    "probe_layers",
    "ridge_baselines",
    "ridge_probe",
]
