"""Adapting a model to a task: an estimator of scikit-learn's form, regimes, recipes and augmentation."""

from eeglab_models.finetuning.estimator import FineTuner
from eeglab_models.finetuning.recipes import lightconvnet_recipe

__all__ = ["FineTuner", "lightconvnet_recipe"]
