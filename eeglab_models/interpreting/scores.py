"""Scores: the numbers a model gives about windows, of which attribution asks where they come from.

Shapes use these names throughout:

    n_windows  EEG windows
    batch      windows in a forward pass, variants of a window counted one by one
    n_chans    EEG channels
    n_times    samples of a window
    n_outputs  outputs of the model, for classification the classes
"""

from collections.abc import Iterator, Sequence
from typing import Any

import numpy as np
import torch
from jaxtyping import Float, Int
from sklearn.base import BaseEstimator
from sklearn.pipeline import Pipeline
from sklearn.preprocessing import StandardScaler
from torch import Tensor, nn

from eeglab_models.models.base import cut_batches, evaluating
from eeglab_models.models.tokens import pool_tokens
from eeglab_models.signals.preparation import check_prepared
from eeglab_models.signals.windows import Windows

__all__ = ["ProbeScore"]

Batch = Float[Tensor, "batch n_chans n_times"]
Target = Any  # int, str, a sequence of either, or a function of the outputs


class ProbeScore(nn.Module):
    """A frozen model and a linear probe on its features, as one module from windows to class scores.

    Parameters
    ----------
    model : EEGModel
        The frozen model, shared and not copied; or any module that, like these, returns a dictionary with
        ``"features"`` when it is called with ``return_features=True``.
    probe : sklearn estimator
        A fitted linear classifier of the features of `extract_features` with its defaults: the encoder's,
        averaged over time. Alone, or in a pipeline after a `StandardScaler`, as `linear_probe` builds it.

    Attributes
    ----------
    classes : list of str
        Names of the outputs in their order.
    readout : torch.nn.Linear
        The probe, scaling included. Of two classes, the outputs are plus and minus half the probe's
        decision value.

    Raises
    ------
    TypeError
        If the probe is not linear, not fitted, or scaled by something else.
    """

    def __init__(self, model: nn.Module, probe: BaseEstimator) -> None:
        super().__init__()
        *scalers, classifier = [step for _, step in probe.steps] if isinstance(probe, Pipeline) else [probe]
        if not hasattr(classifier, "coef_") or not all(isinstance(step, StandardScaler) for step in scalers):
            raise TypeError(
                "ProbeScore reads a fitted linear classifier, alone or after a StandardScaler, got "
                f"{probe!r}. Fit a linear_probe() first."
            )
        weight, bias = np.array(classifier.coef_, float), np.array(classifier.intercept_, float)
        # The last scaler is the first to be undone.
        for scaler in reversed(scalers):
            scale = 1.0 if scaler.scale_ is None else scaler.scale_
            weight = weight / scale  # (n_outputs or 1, n_features)
            bias = bias - weight @ (0.0 if scaler.mean_ is None else scaler.mean_)
        if len(weight) == 1:
            weight, bias = np.vstack([-weight, weight]) / 2, np.hstack([-bias, bias]) / 2
        parameter = next(model.parameters())
        self.model = model
        self.classes = [str(name) for name in classifier.classes_]
        self.readout = nn.Linear(weight.shape[1], len(weight), device=parameter.device, dtype=parameter.dtype)
        with torch.no_grad():
            self.readout.weight.copy_(torch.from_numpy(weight))
            self.readout.bias.copy_(torch.from_numpy(bias))

    def forward(self, x: Batch, channel_ids: Sequence[int] | None = None) -> Float[Tensor, "batch n_outputs"]:
        """Score every class.

        Parameters
        ----------
        x : torch.Tensor, shape (batch, n_chans, n_times)
            Prepared windows, in the unit of the model's contract.
        channel_ids : sequence of int or None
            Channels of the published weights that the channels stand for, for models that take them.

        Returns
        -------
        scores : torch.Tensor, shape (batch, n_outputs)
            Outputs of `readout`, in the order of `classes`.

        Raises
        ------
        ValueError
            If the model gives another number of features than the probe reads.
        """
        arguments = {} if channel_ids is None else {"channel_ids": channel_ids}
        if hasattr(self.model, "encode"):
            rows = pool_tokens(self.model.encode(x, **arguments), "time")  # (batch, n_features)
        else:
            rows = self.model(x, return_features=True, **arguments)["features"]  # (batch, n_features)
        if rows.shape[1] != self.readout.in_features:
            raise ValueError(
                f"The probe reads {self.readout.in_features} features, but the average over time of "
                f"{type(self.model).__name__} has {rows.shape[1]}. Fit it to the features of "
                "extract_features(model, windows)."
            )
        return self.readout(rows)  # (batch, n_outputs)


class Score:
    """One number per window that a model gives, and that can be explained: see `attribute` for its arguments.

    Whoever asks for scores puts the model in evaluation mode, by `evaluating`.
    """

    def __init__(
        self,
        model: nn.Module,
        windows: Windows,
        target: Target,
        classes: Sequence[str] | None = None,
        channel_ids: Sequence[int] | None = None,
        batch_size: int = 32,
    ) -> None:
        if not len(windows):
            raise ValueError("A score needs at least one window, got none. Check how they were chosen.")
        if batch_size < 1:
            raise ValueError(f"batch_size must be positive, got {batch_size}.")
        reader = model.model if isinstance(model, ProbeScore) else model
        if hasattr(reader, "contract"):
            check_prepared(windows, reader)
        self.model = model
        self.windows = windows
        self.batch_size = batch_size
        self.arguments = {} if channel_ids is None else {"channel_ids": list(channel_ids)}
        self.function = target if callable(target) else None
        classes = getattr(model, "classes", None) if classes is None else list(classes)
        with evaluating(model), torch.no_grad():
            ((_, first),) = cut_batches(windows.data[:1], 1, model)
            outputs = model(first, **self.arguments)
        if self.function is not None:
            chosen = np.zeros(len(windows), dtype=np.int64)
            shape = tuple(self.function(outputs).shape)
            if shape != (1,):
                raise ValueError(
                    "A function as target turns the outputs of a batch into scores of shape (batch,), got "
                    f"shape {shape} for one window. Sum or choose within the function."
                )
        elif not isinstance(outputs, Tensor) or outputs.ndim != 2:
            raise ValueError(
                f"{type(model).__name__} gives no outputs of shape (batch, n_outputs). Pass as target a "
                "function that turns what it gives into scores."
            )
        else:
            chosen = number_targets(target, windows, classes, outputs.shape[1])
        self.outputs = torch.from_numpy(chosen).to(first.device)

    def __call__(self, x: Batch, outputs: Int[Tensor, " batch"]) -> Float[Tensor, " batch"]:
        """Score windows, each by the output of its number."""
        answer = self.model(x, **self.arguments)
        return answer.gather(1, outputs[:, None])[:, 0] if self.function is None else self.function(answer)

    @torch.no_grad()
    def measure(
        self, data: Float[np.ndarray, "n_windows n_chans n_times"]
    ) -> Float[np.ndarray, " n_windows"]:
        """Score one variant of every window, in their order, without gradients and in float64."""
        parts = [self(x, outputs) for x, outputs in self.cut_batches(data, self.batch_size)]
        return torch.cat(parts).double().cpu().numpy()

    def cut_batches(
        self, data: Float[np.ndarray, "n_windows n_chans n_times"], size: int
    ) -> Iterator[tuple[Batch, Int[Tensor, " batch"]]]:
        """Move windows to the model, batch by batch, with the numbers of the outputs that score them."""
        for part, x in cut_batches(data, size, self.model):
            yield x, self.outputs[part]


def number_targets(
    target: Target, windows: Windows, classes: Sequence[str] | None, n_outputs: int
) -> Int[np.ndarray, " n_windows"]:
    """Find the number of the output that each window is scored by."""
    single = isinstance(target, str | int | np.integer)
    targets = [target] * len(windows) if single else list(target)
    if len(targets) != len(windows):
        raise ValueError(
            f"target must be one class, or one for each of the {len(windows)} windows, got {len(targets)}."
        )
    if any(isinstance(name, str) for name in targets):
        if classes is None and windows.labels is not None:
            classes = sorted(set(windows.labels.tolist()))
        if classes is None or len(classes) != n_outputs:
            known = "none" if classes is None else ", ".join(map(str, classes))
            raise ValueError(
                f"Classes by name need the names of all {n_outputs} outputs, got {known}. Pass classes=, in "
                "the order of the outputs, or give the number of the output as target."
            )
    order = {name: number for number, name in enumerate(classes or [])}
    unknown = {name for name in targets if name not in (order if isinstance(name, str) else range(n_outputs))}
    if unknown:
        raise ValueError(
            f"target must be among {', '.join(map(repr, [*order]))} or 0 to {n_outputs - 1}, got "
            f"{', '.join(map(repr, sorted(unknown, key=str)))}."
        )
    return np.array([order[name] if isinstance(name, str) else name for name in targets], dtype=np.int64)
