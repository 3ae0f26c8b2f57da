"""What results are worth: scores over folds, their intervals and paired tests, and what luck alone reaches.

`folds` scores pipelines and summarises, `intervals` bounds, `comparison` tests, `chance` says what luck
reaches. All of it works on scikit-learn estimators, arrays and tables, not on models of this package: this
room imports none of the others, and all rooms that give scores may import what stands here.
"""

from eeglab_models.scores.chance import chance_level, check_leakage
from eeglab_models.scores.comparison import Comparison, compare
from eeglab_models.scores.folds import score_folds, score_pipelines, summarise
from eeglab_models.scores.intervals import accuracy_interval, mean_interval

__all__ = [
    "Comparison",
    "accuracy_interval",
    "chance_level",
    "check_leakage",
    "compare",
    "mean_interval",
    "score_folds",
    "score_pipelines",
    "summarise",
]
