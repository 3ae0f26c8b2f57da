"""What results are worth: scores over folds, their intervals and paired tests, and what luck alone reaches.

Everything here works on scikit-learn estimators, arrays and tables, not on models of this package.
"""

from eeglab_models.scores.chance import chance_level, check_leakage, permutation_chance_level
from eeglab_models.scores.scoring import (
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
    "accuracy_interval",
    "chance_level",
    "check_leakage",
    "compare",
    "mean_interval",
    "permutation_chance_level",
    "score_folds",
    "score_pipelines",
    "summarise",
]
