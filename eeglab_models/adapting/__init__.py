"""From a model to a result: features, probes and honest scores."""

from eeglab_models.adapting.embeddings import extract_features
from eeglab_models.adapting.scoring import chance_level, score_pipelines

__all__ = ["chance_level", "extract_features", "score_pipelines"]
