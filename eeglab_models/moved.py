"""Where modules went: importing an old name is an error that says the new one."""

import sys
from importlib.abc import MetaPathFinder

MOVED = {
    "adapting": "features, finetuning and scores",
    "adapting.baselines": "features.baselines",
    "adapting.cache": "features.cache",
    "adapting.callbacks": "finetuning.training",
    "adapting.chance": "scores.chance",
    "adapting.embeddings": "features.embeddings",
    "adapting.finetuning": "finetuning",
    "adapting.probing": "features.probing",
    "adapting.recipes": "finetuning.recipes",
    "adapting.regimes": "finetuning.regimes",
    "adapting.scoring": "scores",
    "adapting.training": "finetuning.training",
    "experiments.doctor": "workshop.doctor",
    "experiments.install": "workshop.install",
    "experiments.kit": "workshop.kit",
    "finetuning.callbacks": "finetuning.training",
    "pretraining.alignment": "pretraining.eegpt.alignment",
    "pretraining.code_prediction": "pretraining.codebrain.code_prediction",
    "pretraining.codebook": "pretraining.codebrain.codebook",
    "pretraining.corpus_building": "pretraining.corpus",
    "pretraining.data": "pretraining.corpus",
    "pretraining.loop": "training",
    "pretraining.schedules": "training.schedules",
    "pretraining.self_distillation": "pretraining.eegdino.self_distillation",
    "pretraining.settings": "training",
    "pretraining.tokenizer": "pretraining.codebrain.tokenizer",
    "signals.arithmetic": "signals.mental_arithmetic",
    "yaml_files": "configs",
}


class Signpost(MetaPathFinder):
    """Asked last, for modules that no other finder has found."""

    def find_spec(self, fullname: str, path: object = None, target: object = None) -> None:
        """Refuse old names of this package's modules; nothing else is its business."""
        package, _, name = fullname.partition(".")
        if package == __package__ and name in MOVED:
            raise ModuleNotFoundError(
                f"{fullname} has moved. Import from eeglab_models.{MOVED[name]}.", name=fullname
            )


def put_up() -> None:
    """Let imports of old names end in an error that says the new one."""
    sys.meta_path.append(Signpost())
