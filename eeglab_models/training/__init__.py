"""The loop that moves weights, for fine-tuning and for pretraining, and all that a training needs beside it.

`loop` takes the steps, `pretraining` says which steps pretraining takes (those of fine-tuning stand in its
own room); settings, schedules, batches, processes, checkpoints and curves are what both are made of. Import
`Settings` and `pretrain` from here. This room knows models and signals, and no room above them.
"""

from eeglab_models.training.pretraining import pretrain
from eeglab_models.training.settings import Settings

__all__ = ["Settings", "pretrain"]
