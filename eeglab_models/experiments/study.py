"""What one varies in a study: what its parameters may be, and which do not go together."""

from collections.abc import Mapping
from typing import Annotated, Any, Literal

from annotated_types import Ge, Gt

__all__: list[str] = []

OF_CLASSES = ("CSP + LDA", "tangent space + LR", "filter-bank CSP + LDA", "band power + LR")
OF_VALUES = ("log power + ridge", "tangent space + ridge")
Edge = Annotated[float, Gt(0)] | Literal["auto"] | None
# What these mean in a notebook that says by which metric it scores.
STUDY = {
    "fmin": Edge,
    "fmax": Edge,
    "notch": Edge,
    "channels": list[str],
    "events": list[str] | None,
    "test_subjects": list[int | str],
    "reference": Literal["", "average"],
    "align_by": Literal["", "subject", "session"],
    "layer": str | int,
    "pool": Literal["time", "mean", "none"],
    "class_weight": Literal["", "balanced"],
    "n_labels": Annotated[int, Ge(0)],
    "batch_size": Annotated[int, Ge(1)],
    "weight_decay": Annotated[float, Ge(0)],
    "patience": Annotated[int, Ge(1)] | None,
    "split_seed": Annotated[int, Ge(0)] | None,
}


def check_study(setting: Mapping[str, Any]) -> None:
    """Refuse parameters of a study that do not go together."""
    check_task(setting)
    if "tmin" in setting:
        from eeglab_models.signals.plan import Plan

        # It refuses windows and bands that cannot be.
        Plan(**{name: setting[name] for name in ("fmin", "fmax", "notch", "tmin", "tmax") if name in setting})
    tested = setting.get("test_subjects") or []
    if tested and setting.get("evaluation") != "cross_subject":
        raise ValueError(
            f"test_subjects are tested by a model of the others, got evaluation "
            f"{setting.get('evaluation')!r}. Write 'evaluation: cross_subject', or leave them out."
        )
    if tested and setting.get("subjects") and not set(tested) < set(setting["subjects"]):
        raise ValueError(
            f"test_subjects are some of the subjects, and the others teach, got {tested} of "
            f"{setting['subjects']}. Name both in subjects."
        )


def check_task(setting: Mapping[str, Any]) -> None:
    """Refuse models, weights and thresholds that do not go with what is predicted: classes or values."""
    from eeglab_models.scores.metrics import METRICS

    metric, model = setting["metric"], setting.get("model")
    of_values = METRICS[metric].reads == "values"
    if model in (OF_CLASSES if of_values else OF_VALUES):
        kinds = ("classes", "values") if of_values else ("values", "classes")
        fitting = OF_VALUES if of_values else OF_CLASSES
        raise ValueError(
            f"{model} predicts {kinds[0]}, and {metric} is a score of {kinds[1]}. Choose {fitting[0]} or "
            f"{fitting[1]}, or another metric."
        )
    weighted, tuned = setting.get("class_weight"), setting.get("tune_threshold")
    if of_values and (weighted or tuned):
        raise ValueError(
            f"class_weight and tune_threshold are of classes, and {metric} is a score of values. Leave them "
            "out."
        )
    if weighted and str(model).endswith("LDA"):
        raise ValueError(f"{model} takes no class_weight. Set tune_threshold, or leave it out.")
    if tuned and setting.get("regime", "probe") != "probe":
        raise ValueError(
            f"A threshold is tuned by cross-validation within the training windows, for the regime 'probe' "
            f"only, got {setting['regime']!r}. Set class_weight: balanced instead."
        )
    if tuned and len(setting.get("events") or []) != 2:
        raise ValueError(f"A threshold parts two classes, got the events {setting.get('events')}. Name two.")
