"""The training loop: settings, schedules, batches, processes, checkpoints and curves."""

from eeglab_models.training.loop import pretrain
from eeglab_models.training.settings import Settings

__all__ = ["Settings", "pretrain"]
