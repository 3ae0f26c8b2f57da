"""Where models look, and whether it is true.

`attention` and `summaries` tell who looks at whom; `attribution`, `scores` and `responses` what an output
depends on; `patterns` where filters look; `sanity`, `similarity` and `truth` whether to believe it. Import
what is named below from here. This room knows models, signals and scores, and asks models what their tokens
are.
"""

from eeglab_models.interpreting.attention import attention_maps
from eeglab_models.interpreting.attribution import attribute, occlude_bands
from eeglab_models.interpreting.patterns import spatial_filters, spatial_patterns
from eeglab_models.interpreting.responses import global_kernels, receptive_field
from eeglab_models.interpreting.sanity import (
    area_under,
    deletion_curve,
    insertion_curve,
    randomise,
    similarity_to_randomised,
)
from eeglab_models.interpreting.scores import ProbeScore
from eeglab_models.interpreting.similarity import cka, cka_matrix, variance_shares
from eeglab_models.interpreting.summaries import (
    entropy,
    head_similarity,
    marginal,
    mean_distance,
    rollout,
    topography_over_time,
)
from eeglab_models.interpreting.truth import (
    relevant_channels,
    score_against_truth,
    score_topography,
    source_topographies,
)

__all__ = [
    "ProbeScore",
    "area_under",
    "attention_maps",
    "attribute",
    "cka",
    "cka_matrix",
    "deletion_curve",
    "entropy",
    "global_kernels",
    "head_similarity",
    "insertion_curve",
    "marginal",
    "mean_distance",
    "occlude_bands",
    "randomise",
    "receptive_field",
    "relevant_channels",
    "rollout",
    "score_against_truth",
    "score_topography",
    "similarity_to_randomised",
    "source_topographies",
    "spatial_filters",
    "spatial_patterns",
    "topography_over_time",
    "variance_shares",
]
