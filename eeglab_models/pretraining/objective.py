"""What the loop asks of an objective, the promise that all keep, and the average that teachers are."""

from typing import Protocol, runtime_checkable

import torch
from jaxtyping import Float
from torch import Tensor, nn

__all__ = ["Objective"]


@runtime_checkable
class Objective(Protocol):
    """A module that turns windows into losses, without labels.

    Beside what is written here it is a `torch.nn.Module`. All that a step changes, teachers, codebooks and
    centres, is in its `state_dict`, and changes only in training mode. Two further methods are called where
    they exist: ``start(windows)``, once before the first step, with all windows of that step in every
    process; and ``save_pretrained(folder)``, at the end, if `encoder` is not one of the models. Where there
    is a mapping `arguments` of its settings, training goes on with the same ones only.

    Attributes
    ----------
    encoder : torch.nn.Module
        The model that pretraining is for, ready to be probed after it.
    """

    encoder: nn.Module

    def draw(
        self, windows: Float[Tensor, "n_windows n_chans n_times"], generator: torch.Generator | None = None
    ) -> dict[str, Tensor]:
        """Draw all that is random in a step: masks, subsets of channels, crops.

        Parameters
        ----------
        windows : torch.Tensor, shape (n_windows, n_chans, n_times)
            Windows of the step in all processes, in any unit; only their shape counts.
        generator : torch.Generator or None
            Source of the random numbers; None means torch's own.

        Returns
        -------
        drawn : dict of torch.Tensor
            On the processor. The first axis is n_windows, or 1 for what all windows share.
        """
        ...

    def forward(
        self, windows: Float[Tensor, "batch n_chans n_times"], drawn: dict[str, Tensor] | None = None
    ) -> dict[str, Tensor]:
        """Compute the losses of some windows.

        Parameters
        ----------
        windows : torch.Tensor, shape (batch, n_chans, n_times)
            Prepared windows, in the unit and at the rate of the encoder's contract.
        drawn : dict of torch.Tensor or None
            What `draw` returned, for these windows; None draws now.

        Returns
        -------
        losses : dict of torch.Tensor
            ``"loss"`` is to be minimised; everything else, its terms and monitors, has no gradient.
        """
        ...

    def update(self, progress: float) -> None:
        """Move what follows the student, after every step of the optimiser.

        Parameters
        ----------
        progress : float
            Share of the training that is done, above 0, at most 1.
        """
        ...

    def trivial_loss(self) -> dict[str, float]:
        """Give the value of each loss for a predictor that knows nothing.

        Returns
        -------
        losses : dict of float
            Under names of `forward`, for those losses whose value does not depend on the data.
        """
        ...


@torch.no_grad()
def follow(teacher: nn.Module, student: nn.Module, momentum: float) -> None:
    """Move a teacher by 1 - momentum towards its student: Grill et al. (2020), BYOL, equation 1."""
    # torch's AveragedModel has a fixed momentum, and names of its own for all parameters.
    for kept, new in zip(teacher.parameters(), student.parameters(), strict=True):
        kept.lerp_(new.to(kept.dtype), 1.0 - momentum)
