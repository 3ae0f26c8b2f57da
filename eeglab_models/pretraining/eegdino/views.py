"""Views of EEG windows: a few channels, a stretch of time, parts set to zero."""

import torch
from jaxtyping import Bool, Float, Int
from torch import Tensor

# A part of every window, and the channel slot of each of its rows.
View = tuple[Float[Tensor, "batch n_view_chans n_view_times"], Int[Tensor, " n_view_chans"]]


def draw_crops(
    n_views: int,
    n_chans: int,
    n_view_chans: int,
    n_patches: int,
    n_view_patches: int,
    generator: torch.Generator | None = None,
) -> tuple[Int[Tensor, "1 n_views n_view_chans"], Int[Tensor, "1 n_views"]]:
    """Draw channels and a first patch for every view; the first axis says that all windows share them."""
    order = torch.rand(1, n_views, n_chans, generator=generator).argsort(dim=-1)
    channels = order[..., :n_view_chans].sort(dim=-1).values  # (1, n_views, n_view_chans)
    return channels, torch.randint(n_patches - n_view_patches + 1, (1, n_views), generator=generator)


def draw_hidden(
    shape: tuple[int, ...], n_items: int, share: float, generator: torch.Generator | None = None
) -> Bool[Tensor, "*shape n_items"]:
    """Draw which of several items are hidden, but never all of them."""
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
    """Cut the same channels and the same stretch of time out of all windows."""
    return windows[:, :, start : start + n_samples][:, channels.to(windows.device)]


def hide_patches(
    view: Float[Tensor, "batch n_chans n_times"], hidden: Bool[Tensor, "batch n_chans n_patches"]
) -> Float[Tensor, "batch n_chans n_times"]:
    """Set patches to zero, for encoders that have no token for what they cannot see."""
    patches = view.unflatten(-1, (hidden.shape[-1], -1))  # (batch, n_chans, n_patches, patch_size)
    return patches.masked_fill(hidden.unsqueeze(-1), 0.0).flatten(-2)  # (batch, n_chans, n_times)


def pair_patches(
    teacher_tokens: Float[Tensor, "n_global batch n_view_chans n_patches embed_dim"],
    tokens: Float[Tensor, "n_masked batch n_view_chans n_patches embed_dim"],
    mask: Bool[Tensor, "n_masked batch n_view_chans n_patches"],
    alignment: str,
) -> tuple[Float[Tensor, "n_targets n_items embed_dim"], Float[Tensor, "n_guesses n_items embed_dim"]]:
    """Pick tokens of teacher and student to compare: those of hidden patches, or all in their order."""
    if alignment == "same crop":
        twins = torch.arange(len(tokens), device=mask.device) % len(teacher_tokens)
        return teacher_tokens[twins][mask].unsqueeze(0), tokens[mask].unsqueeze(0)
    return teacher_tokens.flatten(1, 3), tokens.flatten(1, 3)
