"""Views of EEG windows: a few channels, a stretch of time, parts set to zero."""

import torch
from jaxtyping import Bool, Float, Int
from torch import Tensor

__all__ = ["cut_crop", "draw_crops", "draw_hidden", "hide_patches"]


def draw_crops(
    n_views: int,
    n_chans: int,
    n_view_chans: int,
    n_patches: int,
    n_view_patches: int,
    generator: torch.Generator | None = None,
) -> tuple[Int[Tensor, "1 n_views n_view_chans"], Int[Tensor, "1 n_views"]]:
    """Draw channels and a first patch for every view; the first axis says that all windows share them.

    Parameters
    ----------
    n_views : int
        Number of views.
    n_chans, n_patches : int
        Size of a window.
    n_view_chans, n_view_patches : int
        Size of a view.
    generator : torch.Generator or None
        Source of randomness on the CPU; None means torch's own.

    Returns
    -------
    channels : torch.Tensor, shape (1, n_views, n_view_chans)
        Rows of the windows, in ascending order.
    starts : torch.Tensor, shape (1, n_views)
        First patch of every view.
    """
    order = torch.rand(1, n_views, n_chans, generator=generator).argsort(dim=-1)
    channels = order[..., :n_view_chans].sort(dim=-1).values  # (1, n_views, n_view_chans)
    return channels, torch.randint(n_patches - n_view_patches + 1, (1, n_views), generator=generator)


def draw_hidden(
    shape: tuple[int, ...], n_items: int, share: float, generator: torch.Generator | None = None
) -> Bool[Tensor, "*shape n_items"]:
    """Draw which of several items are hidden, but never all of them.

    Parameters
    ----------
    shape : tuple of int
        Shape of what is drawn independently.
    n_items : int
        Number of items to choose from.
    share : float
        Share of the items that is hidden on average, as far as one stays.
    generator : torch.Generator or None
        Source of randomness on the CPU; None means torch's own.

    Returns
    -------
    hidden : torch.Tensor, shape (*shape, n_items)
        True where an item is hidden.
    """
    ranks = torch.rand(*shape, n_items, generator=generator).argsort(-1).argsort(-1)  # (*shape, n_items)
    # Rounding at random keeps the share on average where it is less than one item.
    n_hidden = (share * n_items + torch.rand(*shape, 1, generator=generator)).floor()  # (*shape, 1)
    return ranks < n_hidden.clamp(max=n_items - 1)


def cut_crop(
    windows: Float[Tensor, "batch n_chans n_times"],
    channels: Int[Tensor, " n_view_chans"],
    start: int,
    n_samples: int,
) -> Float[Tensor, "batch n_view_chans n_samples"]:
    """Cut the same channels and the same stretch of time out of all windows.

    Parameters
    ----------
    windows : torch.Tensor, shape (batch, n_chans, n_times)
        EEG windows in any unit.
    channels : torch.Tensor, shape (n_view_chans,)
        Rows to keep.
    start, n_samples : int
        First sample, and how many.

    Returns
    -------
    view : torch.Tensor, shape (batch, n_view_chans, n_samples)
        The part.
    """
    return windows[:, :, start : start + n_samples][:, channels.to(windows.device)]


def hide_patches(
    view: Float[Tensor, "batch n_chans n_times"], hidden: Bool[Tensor, "batch n_chans n_patches"]
) -> Float[Tensor, "batch n_chans n_times"]:
    """Set patches to zero, for encoders that have no token for what they cannot see.

    Parameters
    ----------
    view : torch.Tensor, shape (batch, n_chans, n_times)
        EEG of `n_patches` whole patches, in any unit.
    hidden : torch.Tensor, shape (batch, n_chans, n_patches)
        True where a patch is hidden.

    Returns
    -------
    masked : torch.Tensor, shape (batch, n_chans, n_times)
        A copy in the same unit, with zeros.
    """
    patches = view.unflatten(-1, (hidden.shape[-1], -1))  # (batch, n_chans, n_patches, patch_size)
    return patches.masked_fill(hidden.unsqueeze(-1), 0.0).flatten(-2)  # (batch, n_chans, n_times)
