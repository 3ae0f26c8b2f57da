"""Adapting a model to a task: an estimator of scikit-learn's form, regimes and recipes.

`estimator` is `FineTuner`, `regression` the same for values, `regimes` says which parts learn, `training` its
steps on the loop of all trainings, `recipes` published settings. Import what is named below from here. This
room knows models, signals, features and training.
"""

from eeglab_models.finetuning.estimator import FineTuner
from eeglab_models.finetuning.recipes import eegpt_probe_recipe, lightconvnet_recipe
from eeglab_models.finetuning.regression import FineTuneRegressor

__all__ = ["FineTuneRegressor", "FineTuner", "eegpt_probe_recipe", "lightconvnet_recipe"]
