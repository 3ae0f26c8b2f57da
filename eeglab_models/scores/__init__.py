"""What results are worth: scores over folds, their intervals and paired tests, and what luck alone reaches.

`folds` keeps what pipelines predict, scores and summarises, `metrics` says by what, `estimates` and
`intervals` bound, `comparison` tests, `chance` says what luck reaches. All of it works on scikit-learn
estimators, arrays and tables, not on models of this package: this room imports none of the others, and all
rooms that give scores may import what stands here.
"""

from eeglab_models.scores.calibration import calibration_bins, calibration_error, confidences
from eeglab_models.scores.chance import chance_level, check_leakage
from eeglab_models.scores.comparison import Comparison, compare
from eeglab_models.scores.estimates import estimate
from eeglab_models.scores.folds import FewLabels, predict_folds, score_folds, score_pipelines, summarise
from eeglab_models.scores.intervals import accuracy_interval, mean_interval
from eeglab_models.scores.metrics import METRICS, Metric, measure

__all__ = [
    "METRICS",
    "Comparison",
    "FewLabels",
    "Metric",
    "accuracy_interval",
    "calibration_bins",
    "calibration_error",
    "chance_level",
    "check_leakage",
    "compare",
    "confidences",
    "estimate",
    "mean_interval",
    "measure",
    "predict_folds",
    "score_folds",
    "score_pipelines",
    "summarise",
]
