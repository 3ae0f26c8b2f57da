"""CodeBrain's global convolution: filters as long as a recording, from a handful of learned numbers.

Source: Li et al. (2023), What makes convolutional models great on long sequence modeling?, ICLR, section 3.
The plain form stands first, beside the fast one that the model runs. Shapes use these names throughout:

    batch      windows in a batch
    n_tokens   tokens of a window
    embed_dim  width of a token
    n_filters  global filters per feature
    n_rows     filters of both directions: 2 * n_filters, or n_filters if only one is read
    length     samples of a filter
    n_taps     learned numbers that span one filter
    n_fft      samples of the Fourier transform that convolves
    n_freqs    frequencies of that transform
"""

from collections.abc import Mapping, Sequence

import torch
import torch.nn.functional as F
from jaxtyping import Complex, Float
from torch import Tensor, nn
from torch.utils.checkpoint import checkpoint

from eeglab_models.models.fourier import at_least_single, fast_length, irfft, rfft

N_FILTERS = 4
# Longer sequences are filtered again in the backward pass, rather than kept filtered.
N_TOKENS_KEPT = 1024

Tokens = Float[Tensor, "batch embed_dim n_tokens"]


class GlobalConv(nn.Module):
    """Structured global convolution: filters as long as the sequence, made of few learned taps.

    Every feature is convolved with `N_FILTERS` filters k of two directions and a skip weight D,

        y = irfft(rfft(x) * rfft(k_ahead + flip(k_back) + D * delta)).

    A filter is a row of pieces of two taps each. From piece to piece it is stretched to twice the length
    and weighs less. It is divided by `kernel_norm`, its norm when it was new, which stays while it learns.
    """

    def __init__(
        self, embed_dim: int, n_tokens_most: int, bidirectional: bool, layer_norm: bool, drop_prob: float
    ) -> None:
        super().__init__()
        if n_tokens_most < 2:
            raise ValueError(
                f"s4_lmax must be at least 2, the taps of one piece, got {n_tokens_most}. "
                "The published weights use 570."
            )
        n_pieces = (n_tokens_most - 1).bit_length()
        n_rows = 2 * N_FILTERS if bidirectional else N_FILTERS
        self.bidirectional = bidirectional
        self.skip_weight = nn.Parameter(torch.randn(N_FILTERS, embed_dim))
        self.kernel_list = nn.ParameterList(torch.randn(n_rows, embed_dim, 2) for _ in range(n_pieces))
        multiplier = torch.full((1, embed_dim, 1), 2.0)
        self.register_buffer("multiplier", multiplier)
        self.register_buffer("kernel_norm", measure_norm(list(self.kernel_list), multiplier))
        self.register_buffer("kernel_norm_initialized", torch.tensor(True))
        self.dropout = nn.Dropout1d(drop_prob)
        self.norm = nn.LayerNorm(N_FILTERS * embed_dim) if layer_norm else nn.Identity()
        self.output_linear = nn.Linear(N_FILTERS * embed_dim, embed_dim)

    def forward(self, tokens: Tokens) -> Tokens:
        """Relate every token to all others."""
        if self.training and tokens.shape[-1] > N_TOKENS_KEPT:
            return checkpoint(self.relate, tokens, use_reentrant=False)
        return self.relate(tokens)

    def relate(self, tokens: Tokens) -> Tokens:
        """Filter the tokens, and mix what the filters say."""
        filtered = self.dropout(F.gelu(self.convolve(tokens)))  # (batch, n_filters * embed_dim, n_tokens)
        if isinstance(self.norm, nn.LayerNorm):
            filtered = self.norm(filtered.transpose(1, 2)).transpose(1, 2)
        return project(filtered, self.output_linear)

    def kernel(self) -> Float[Tensor, "n_rows embed_dim length"]:
        """Lay the filters out: stretch, weigh and join their pieces."""
        return lay_out(list(self.kernel_list), self.multiplier) / self.kernel_norm

    def convolve_plainly(self, tokens: Tokens) -> Float[Tensor, "batch filtered n_tokens"]:
        """Apply the filters as the formula says: equal to `convolve` by test, and slower."""
        n_tokens = tokens.shape[-1]
        kernel = self.kernel()[..., :n_tokens]  # (n_rows, embed_dim, n_tokens or less)
        kernel = F.pad(kernel, (0, 2 * n_tokens - kernel.shape[-1]))  # (n_rows, embed_dim, 2 * n_tokens)
        ahead, *back = kernel.split(N_FILTERS)  # each (n_filters, embed_dim, 2 * n_tokens)
        # The convolution is circular: what stands at the end reaches back, from the next token on.
        filters = ahead + back[0].flip(-1) if back else ahead
        spectra = rfft(filters) + self.skip_weight.unsqueeze(-1)  # (n_filters, embed_dim, n_tokens + 1)
        spectra = spectra * rfft(tokens, 2 * n_tokens).unsqueeze(1)  # (batch, n_filters, embed_dim, ...)
        return irfft(spectra, 2 * n_tokens)[..., :n_tokens].flatten(1, 2)

    def convolve(self, tokens: Tokens) -> Float[Tensor, "batch filtered n_tokens"]:
        """Apply the filters of every feature, as a product of spectra."""
        n_tokens = tokens.shape[-1]
        n_fft = fast_length(2 * n_tokens)
        precise = at_least_single(tokens)
        spectra = rfft(precise, n_fft)  # (batch, embed_dim, n_freqs)
        filters = self.filter_spectra(n_tokens, n_fft, precise)  # (n_filters, embed_dim, n_freqs)
        # One filter at a time: the products of all would not fit into a processor's cache.
        filtered = [irfft(spectra * one, n_fft)[..., :n_tokens] for one in filters]
        return torch.cat(filtered, dim=1).to(tokens.dtype)  # (batch, n_filters * embed_dim, n_tokens)

    def filters(self, n_tokens: int) -> Float[Tensor, "n_filters embed_dim n_lags"]:
        """Lay out the filters for a sequence, from the lag 1 - n_tokens to n_tokens - 1."""
        n_fft = fast_length(2 * n_tokens)
        like = torch.zeros((), device=self.skip_weight.device)
        circular = torch.fft.irfft(self.filter_spectra(n_tokens, n_fft, like), n=n_fft)
        return circular[..., torch.arange(1 - n_tokens, n_tokens)]

    def filter_spectra(
        self, n_tokens: int, n_fft: int, like: Tensor
    ) -> Complex[Tensor, "n_filters embed_dim n_freqs"]:
        """Add up the spectra of the few taps, the skip included: no filter is ever laid out."""
        # Taps are real, so real and imaginary parts are columns of one real product.
        shapes = torch.view_as_real(self.tap_shapes(n_tokens, n_fft, like))  # (n_taps, n_freqs, 2)
        with torch.autocast(like.device.type, enabled=False):
            parts = self.taps().to(like.dtype) @ shapes.flatten(1)  # (n_filters, embed_dim, n_freqs * 2)
        return torch.view_as_complex(parts.unflatten(-1, (-1, 2)))  # (n_filters, embed_dim, n_freqs)

    def taps(self) -> Float[Tensor, "n_filters embed_dim n_taps"]:
        """Weigh and normalise the taps of all pieces; the skip is one more tap."""
        taps = weigh_taps(list(self.kernel_list), self.multiplier) / self.kernel_norm
        directions = taps.split(N_FILTERS)  # each (n_filters, embed_dim, 2 * n_pieces)
        return torch.cat([*directions, self.skip_weight.unsqueeze(-1)], dim=-1)

    def tap_shapes(self, n_tokens: int, n_fft: int, like: Tensor) -> Complex[Tensor, "n_taps n_freqs"]:
        """Spectrum that one unit of every tap adds to a filter."""
        shapes = stretch_taps(len(self.kernel_list), like)[:, :n_tokens]  # (2 * n_pieces, n_tokens or less)
        ahead = F.pad(shapes, (0, n_fft - shapes.shape[1]))  # (2 * n_pieces, n_fft)
        directions = [ahead, ahead.flip(-1)] if self.bidirectional else [ahead]
        skip = F.pad(torch.ones_like(shapes[:1, :1]), (0, n_fft - 1))  # (1, n_fft)
        return rfft(torch.cat([*directions, skip]))  # (n_taps, n_freqs)


def weigh_taps(pieces: Sequence[Tensor], multiplier: Tensor) -> Float[Tensor, "n_rows embed_dim n_taps"]:
    """Line up the taps of all pieces; a piece weighs `multiplier` times as much as the next."""
    order = torch.arange(len(pieces) - 1, -1, -1, device=multiplier.device)
    weights = (multiplier**order).unsqueeze(-1)  # (1, embed_dim, n_pieces, 1)
    return (torch.stack(list(pieces), dim=2) * weights).flatten(2)  # (n_rows, embed_dim, 2 * n_pieces)


def stretch_taps(n_pieces: int, like: Tensor) -> Float[Tensor, "n_taps length"]:
    """Lay out what one unit of every tap adds to a filter; a piece is as long as all before it."""
    tap = torch.eye(2, dtype=like.dtype, device=like.device).unsqueeze(0)  # (1, 2, 2)
    scales = [2 ** max(piece - 1, 0) for piece in range(n_pieces)]
    pieces = [F.interpolate(tap, scale_factor=scale, mode="linear")[0] for scale in scales]
    return torch.block_diag(*pieces)  # (2 * n_pieces, 2**n_pieces)


def lay_out(pieces: Sequence[Tensor], multiplier: Tensor) -> Float[Tensor, "n_rows embed_dim length"]:
    """Lay out the filters that the pieces make."""
    return weigh_taps(pieces, multiplier) @ stretch_taps(len(pieces), multiplier)


def measure_norm(pieces: Sequence[Tensor], multiplier: Tensor) -> Float[Tensor, "n_rows embed_dim 1"]:
    """Norm of the filters that the pieces make."""
    return lay_out(pieces, multiplier).detach().norm(dim=-1, keepdim=True)  # (n_rows, embed_dim, 1)


def project(tokens: Tokens, layer: nn.Module) -> Float[Tensor, "batch out_features n_tokens"]:
    """Apply a linear layer, or an adapter in its place, to the features of every token."""
    if type(layer) is nn.Linear:
        return pointwise(tokens, layer.weight, layer.bias)
    # Adapters have to be called, not looked into.
    return layer(tokens.transpose(1, 2)).transpose(1, 2)  # (batch, out_features, n_tokens)


def pointwise(
    tokens: Float[Tensor, "batch in_features n_tokens"],
    weight: Float[Tensor, "out_features in_features"],
    bias: Float[Tensor, " out_features"],
) -> Float[Tensor, "batch out_features n_tokens"]:
    """Apply a linear layer to the features of every token."""
    return F.conv1d(tokens, weight.unsqueeze(-1), bias)


def measure_filter_norms(state_dict: Mapping[str, Tensor]) -> dict[str, Tensor]:
    """Measure norms of global filters that come without; what is damaged stays, for `fill_model` to name."""
    measured = {}
    for name, multiplier in state_dict.items():
        if not name.endswith(".multiplier"):
            continue
        conv = name.removesuffix("multiplier")
        flag = state_dict.get(
            f"{conv}kernel_norm_initialized", torch.tensor(f"{conv}kernel_norm" in state_dict)
        )
        if flag.dtype != torch.bool or flag.shape:
            continue
        pieces: list[Tensor] = []
        while f"{conv}kernel_list.{len(pieces)}" in state_dict:
            pieces.append(state_dict[f"{conv}kernel_list.{len(pieces)}"].to(multiplier.dtype))
        if pieces and not flag:
            shapes = {piece.shape for piece in pieces} | {(*pieces[0].shape[:1], multiplier.numel(), 2)}
            if len(shapes) > 1 or multiplier.ndim != 3 or not multiplier.is_floating_point():
                continue
            measured[f"{conv}kernel_norm"] = measure_norm(pieces, multiplier)
        measured[f"{conv}kernel_norm_initialized"] = torch.tensor(True, device=multiplier.device)
    return measured
