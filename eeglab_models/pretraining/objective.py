"""What the loop asks of an objective, the promise that all keep, and the average that teachers are."""

import torch
from jaxtyping import Float
from torch import Tensor, nn

__all__ = ["Objective"]


class Objective(nn.Module):
    """A module that turns windows into losses, without labels.

    All that a step changes, teachers, codebooks and centres, is in its `state_dict`, and changes only in
    training mode. Where there is a mapping `arguments` of its settings, training goes on with the same ones
    only. If `encoder` cannot save itself, the objective may have a method ``save_pretrained(folder)``.

    Attributes
    ----------
    encoder : torch.nn.Module
        The model that pretraining is for, ready to be probed after it.
    AT_REST : str or None
        Name of the part that is in evaluation mode even while the rest trains.
    """

    encoder: nn.Module
    AT_REST: str | None = None

    def train(self, mode: bool = True) -> "Objective":
        """Switch between training and evaluation; what is at rest stays in evaluation mode.

        Parameters
        ----------
        mode : bool
            Train, or evaluate.

        Returns
        -------
        objective : Objective
            This objective.
        """
        super().train(mode)
        if self.AT_REST is not None:
            self.get_submodule(self.AT_REST).eval()
        return self

    def start(self, windows: Float[Tensor, "n_windows n_chans n_times"]) -> None:
        """Get ready for the first step; by default, there is nothing to do.

        Parameters
        ----------
        windows : torch.Tensor, shape (n_windows, n_chans, n_times)
            All windows of that step, in every process, in the unit and at the rate of the encoder's contract.
        """

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

        Raises
        ------
        NotImplementedError
            If an objective does not say it.
        """
        raise NotImplementedError

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

        Raises
        ------
        NotImplementedError
            If an objective does not say it.
        """
        raise NotImplementedError

    def update(self, progress: float) -> None:
        """Move what follows the student, after every step of the optimiser; by default, nothing does.

        Parameters
        ----------
        progress : float
            Share of the training that is done, above 0, at most 1.
        """

    def trivial_loss(self) -> dict[str, float]:
        """Give the value of each loss for a predictor that knows nothing.

        Returns
        -------
        losses : dict of float
            Under names of `forward`, for those losses whose value does not depend on the data.
        """
        return {}


class PatchMasking(Objective):
    """An objective that hides every patch of every channel with the same probability."""

    mask_prob: float

    def draw(
        self, windows: Float[Tensor, "n_windows n_chans n_times"], generator: torch.Generator | None = None
    ) -> dict[str, Tensor]:
        """Draw which patches are hidden.

        Parameters
        ----------
        windows : torch.Tensor, shape (n_windows, n_chans, n_times)
            Windows of the step in all processes, in any unit; only their shape counts.
        generator : torch.Generator or None
            Source of the random numbers; None means torch's own.

        Returns
        -------
        drawn : dict of torch.Tensor
            ``"hidden"``, true where a patch is hidden, shape (n_windows, n_chans, n_patches).
        """
        shape = (*windows.shape[:2], windows.shape[2] // self.encoder.patch_size)
        return {"hidden": torch.rand(shape, generator=generator) < self.mask_prob}


@torch.no_grad()
def follow(teacher: nn.Module, student: nn.Module, momentum: float) -> None:
    """Move a teacher by 1 - momentum towards its student: Grill et al. (2020), BYOL, equation 1."""
    # torch's AveragedModel has a fixed momentum, and names of its own for all parameters.
    for kept, new in zip(teacher.parameters(), student.parameters(), strict=True):
        kept.lerp_(new.to(kept.dtype), 1.0 - momentum)
