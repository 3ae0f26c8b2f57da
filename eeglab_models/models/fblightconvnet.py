"""FBLightConvNet: a filter bank, spatial filters and one light-weight convolution over time.

Source: Ma et al. (2023), A temporal dependency learning CNN with attention mechanism for MI-EEG decoding,
IEEE Transactions on Neural Systems and Rehabilitation Engineering 31:3188-3200. Shapes use these names
throughout:

    batch       windows in a batch
    n_bands     frequency bands of the filter bank
    n_chans     EEG channels
    n_times     samples of a window
    n_filters   spatial filters
    n_patches   patches of a window: whole patches only
    patch_size  samples of one patch
"""

from collections.abc import Callable, Sequence
from typing import Any, ClassVar

import torch
from jaxtyping import Float
from torch import Tensor, nn

from eeglab_models.models.arguments import check_ranges
from eeglab_models.models.base import EEGModel
from eeglab_models.models.contract import FBLIGHTCONVNET_CONTRACT, Contract
from eeglab_models.models.filterbank import (
    CAUSAL_PHASES,
    choose_bands,
    convolve,
    convolve_and_mix,
    design_filters,
    impulse_responses,
    stack_taps,
)
from eeglab_models.models.fourier import at_least_single
from eeglab_models.models.layout import Layout
from eeglab_models.models.patching import cut_patches, warn_about_tail
from eeglab_models.models.tokens import Tokens, plain_tokens

__all__ = ["FBLightConvNet", "FilterBank", "log_variance"]

# Variances outside these limits, in squared units of the activation, count as the limit.
LEAST_VARIANCE, LARGEST_VARIANCE = 1e-6, 1e6
# Joining filters and weights costs as much as filtering about so many windows with one after the other.
FEW_WINDOWS = 8


class FBLightConvNet(EEGModel):
    """LightConvNet with its filter bank: band power over time, weighted by when it matters.

    Every channel is filtered into frequency bands. Spatial filters, each a weighted sum over bands and
    channels, turn them into maps; a map's logarithmic variance in consecutive patches tells how strong
    its rhythm is at that time. A light-weight convolution, whose few kernels are shared by many maps,
    averages the patches with learned weights, and a linear layer classifies the averages.

    Parameters
    ----------
    n_chans : int or None
        Number of EEG channels; None takes it from `chs_info`.
    n_outputs : int or None
        Number of outputs, such as classes. The head needs it: None is refused.
    chs_info : list of dict or None
        One dictionary per channel, as in ``mne.Info["chs"]``; None leaves channels without names.
    n_times, input_window_seconds, sfreq : int or float or None
        Samples and seconds of a window, and sampling rate in Hz, 250 in the paper, for which the filters are
        designed; None follows from the other two. The model reads windows of this length only. Samples that
        fill no last patch are filtered and then left out.
    n_bands : int, None or list of tuple of float
        Number of equally wide bands between 4 and 40 Hz; None means 9 bands of 4 Hz. Or the bands
        themselves, as (lower edge, upper edge) in Hz.
    n_filters_spat : int
        Number of spatial filters, a multiple of `heads`; 64 in the paper.
    n_dim : int
        Axis of (batch, n_filters_spat, n_patches, win_len) over which the variance is taken: 3, the
        samples of a patch, or -1, which is the same.
    stride_factor : int or None
        Has no effect; part of the published signature.
    win_len, heads : int
        Samples of one patch, and kernels of the light-weight convolution. Map i uses kernel ``i % heads``.
    weight_softmax : bool
        Normalise each kernel by a softmax, so that it averages the patches.
    bias, verbose : bool
        Add one bias per map after the light-weight convolution, and let mne describe every filter.
    activation : type of torch.nn.Module
        Activation of the maps.
    filter_parameters : dict
        Design of the filters: ``"method"`` (``"fir"`` or ``"iir"``), ``"phase"``, ``"filter_length"``,
        ``"l_trans_bandwidth"``, ``"h_trans_bandwidth"``, ``"fir_window"``, ``"fir_design"`` and
        ``"iir_params"`` as in `mne.filter.create_filter`. The phases ``"forward"`` and ``"causal"``
        filter once, forward in time; all other FIR filters, minimum-phase ones too, are centred on the
        present sample. None means zero-phase FIR filters.

    Raises
    ------
    ValueError
        If signal arguments are missing or contradict each other, or if no model can be built of the others.

    Notes
    -----
    The input is EEG in microvolts. While training, the batch normalisation makes its scale all but
    irrelevant; a trained model needs the scale that it was trained with. The filters are parameters that no
    optimiser changes and that keep their precision when the model is cast.

    The filter bank of the paper is causal: Chebyshev filters of type II whose *stop* bands end 2 Hz
    outside each band, so ``n_bands=[(2, 10), (6, 14), ..., (34, 42)]`` with ``filter_parameters={"method":
    "iir", "phase": "forward", "iir_params": {"ftype": "cheby2", "order": 4, "rs": 30}}``.

    References
    ----------
    Ma et al. (2023), IEEE TNSRE 31:3188-3200: spatial and spectral information learning, temporal
    segmentation, temporal attention. The light-weight convolution is that of Wu et al. (2019), Pay less
    attention with lightweight and dynamic convolutions, ICLR, section 3. The paper's temporal segments are
    patches in this package's terms.
    """

    def __init__(
        self,
        n_chans: int | None = None,
        n_outputs: int | None = None,
        chs_info: list[dict[str, Any]] | None = None,
        n_times: int | None = None,
        input_window_seconds: float | None = None,
        sfreq: float | None = None,
        n_bands: int | Sequence[Any] | None = 9,
        n_filters_spat: int = 32,
        n_dim: int = 3,
        stride_factor: int | None = 4,
        win_len: int = 250,
        heads: int = 8,
        weight_softmax: bool = True,
        bias: bool = False,
        activation: type[nn.Module] = nn.ELU,
        verbose: bool = False,
        filter_parameters: dict[str, Any] | None = None,
    ) -> None:
        super().__init__(locals())
        check_ranges(self.arguments, counts=("n_filters_spat", "heads"))
        check_patches(self.n_times, win_len, n_dim)
        warn_about_tail(self.n_times, win_len, "truncated after filtering")
        self.patch_size = self.patch_stride = win_len
        self.n_filters = self.embed_dim = n_filters_spat

        self.spectral_filtering = FilterBank(n_bands, self.sfreq, filter_parameters, verbose, self.n_times)
        self.spatial_conv = nn.Sequential(
            nn.Conv2d(self.spectral_filtering.n_bands, n_filters_spat, (self.n_chans, 1)),
            nn.BatchNorm2d(n_filters_spat),
            activation(),
        )
        self.attn_conv = LightweightConv(n_filters_spat, self.n_times // win_len, heads, weight_softmax, bias)
        self.final_layer = self._build_head()

    def _build_head(self) -> nn.Module:
        """Build a fresh linear classifier."""
        return nn.Linear(self.n_filters, self.n_outputs)

    def forward(
        self,
        x: Float[Tensor, "batch n_chans n_times"],
        return_features: bool = False,
    ) -> Tensor | dict[str, Tensor | None]:
        """Classify windows, or describe them.

        Parameters
        ----------
        x : torch.Tensor, shape (batch, n_chans, n_times)
            EEG in microvolts, sampled at `sfreq` Hz.
        return_features : bool
            Return features instead of logits.

        Returns
        -------
        output : torch.Tensor or dict of torch.Tensor
            Logits, shape (batch, n_outputs); with features, a dictionary of ``"features"``, what the head
            reads, shape (batch, n_filters_spat), and ``"cls_token"``, None.

        Raises
        ------
        ValueError
            If the number of channels or samples is not that of the model.
        """
        features = self.encode(x).flatten(1)  # (batch, n_filters)
        if return_features:
            return {"features": features, "cls_token": None}
        return self.final_layer(features)  # (batch, n_outputs)

    def encode(self, x: Float[Tensor, "batch n_chans n_times"]) -> Float[Tensor, "batch 1 1 n_filters"]:
        """Describe every window by one token, which has a number for each spatial filter.

        Parameters
        ----------
        x : torch.Tensor, shape (batch, n_chans, n_times)
            EEG in microvolts, sampled at `sfreq` Hz.

        Returns
        -------
        tokens : torch.Tensor, shape (batch, 1, 1, n_filters_spat)
            What the head reads.

        Raises
        ------
        ValueError
            If the number of channels or samples is not that of the model.
        """
        self.check_input(x, n_times_least=1)
        if x.shape[-1] != self.n_times:
            raise ValueError(
                f"FBLightConvNet was built for windows of {self.n_times} samples, got {x.shape[-1]}. "
                f"Build it with n_times={x.shape[-1]}, or pass windows of {self.n_times} samples."
            )
        if joining_pays(x, self.spectral_filtering, self.spatial_conv):
            maps = filter_and_mix(x, self.spectral_filtering, self.spatial_conv)
        else:
            bands = self.spectral_filtering(x)  # (batch, n_bands, n_chans, n_times)
            maps = self.spatial_conv(bands)  # (batch, n_filters, 1, n_times)
        patches = cut_patches(maps.squeeze(2), self.patch_size)  # (batch, n_filters, n_patches, patch_size)
        power = log_variance(patches)  # (batch, n_filters, n_patches)
        return self.attn_conv(power)[:, None, None]  # (batch, 1, 1, n_filters)

    def _line_up(self, tokens: Float[Tensor, "batch 1 1 n_filters"]) -> Float[Tensor, "batch n_filters 1"]:
        """Take every spatial filter for itself."""
        return tokens.flatten(1).unsqueeze(-1)

    def _feature_tokens(self, ch_names: Sequence[str], n_times: int, sfreq: float) -> Tokens:
        """Name the spatial filters."""
        return plain_tokens([f"filter {index}" for index in range(self.n_filters)])

    @property
    def temporal_attention(self) -> "LightweightConv":
        """What weighs the patches of a window."""
        return self.attn_conv

    @property
    def bands(self) -> list[tuple[float, float]]:
        """Lower and upper edge of every band in Hz."""
        return choose_bands(self.arguments["n_bands"], self.sfreq)

    @property
    def spatial_filters(self) -> Float[Tensor, "n_filters n_bands n_chans"]:
        """Weights by which bands and channels are summed, shape (n_filters_spat, n_bands, n_chans)."""
        return self.spatial_conv[0].weight.squeeze(-1)

    contract: ClassVar[Contract] = FBLIGHTCONVNET_CONTRACT
    layout: ClassVar[Layout] = Layout(
        blocks=("spatial_conv", "attn_conv"),
        projections=r"spatial_conv\.0",
        sizes=lambda n_chans, sfreq: {"win_len": int(sfreq)},
        fixed=("spectral_filtering",),
        derived_modules=("spectral_filtering",),
        fixed_arguments=("n_bands", "weight_softmax", "activation", "filter_parameters"),
        published_names=(
            (r"^spacial_block\.", "spatial_conv."),
            (r"^conv\.", "attn_conv."),
            (r"^classify\.", "final_layer."),
        ),
    )


class FilterBank(nn.Module):
    """Filter every channel into frequency bands, with filters that are designed and not learned.

    Parameters
    ----------
    n_bands : int, None or list of tuple of float
        Bands in Hz; this and the next three are as in `FBLightConvNet`.
    sfreq : float
        Sampling frequency in Hz.
    filter_parameters, verbose : dict, bool or None
        Design of the filters, and whether mne describes every one.
    n_times : int
        Samples of a window, for which recursive filters are prepared; others take longer.

    Raises
    ------
    ValueError
        If a band is none, or if a filter cannot be designed.
    """

    def __init__(
        self,
        n_bands: int | Sequence[Any] | None,
        sfreq: float,
        filter_parameters: dict[str, Any] | None = None,
        verbose: bool = False,
        n_times: int = 1,
    ) -> None:
        super().__init__()
        parameters = filter_parameters or {}
        filters = design_filters(choose_bands(n_bands, sfreq), sfreq, parameters, verbose)
        self.n_bands = len(filters)
        self.recursive = parameters.get("method") == "iir"
        self.causal = parameters.get("phase") in CAUSAL_PHASES
        # Recursive filters are applied twice, forward and then backward, to cancel their delay.
        self.two_pass = self.recursive and not self.causal
        numerators, denominators = zip(*filters, strict=True)
        if self.recursive:
            self.b_list = frozen(numerators, torch.float64)
            self.a_list = frozen(denominators, torch.float64)
            self.register_buffer("prepared", impulse_responses(filters, n_times), persistent=False)
            self.register_load_state_dict_post_hook(prepare_again)
        else:
            self.fir_list = frozen(numerators, torch.float32)
            # Always 1, 0, 0, ...: published states hold them, no computation needs them.
            self.fir_a_list = frozen(denominators, torch.float32)

    def forward(
        self, x: Float[Tensor, "batch n_chans n_times"]
    ) -> Float[Tensor, "batch {self.n_bands} n_chans n_times"]:
        """Filter every channel with every band's filter.

        Parameters
        ----------
        x : torch.Tensor, shape (batch, n_chans, n_times)
            EEG in any unit.

        Returns
        -------
        bands : torch.Tensor, shape (batch, n_bands, n_chans, n_times)
            Filtered EEG in the unit and precision of `x`.
        """
        responses, start = self._responses(x.shape[-1])  # (n_bands, n_taps)
        responses = responses.unsqueeze(1)  # (n_bands, 1, n_taps)
        bands = convolve(x.unsqueeze(1), responses, start)  # (batch, n_bands, n_chans, n_times)
        if self.two_pass:
            bands = convolve(bands.flip(-1), responses, start).flip(-1)
        return bands.to(x.dtype)

    def _responses(self, n_times: int) -> tuple[Float[Tensor, "{self.n_bands} n_taps"], int]:
        """Give every filter's impulse response, and which of its samples meets the present one.

        Of recursive filters, it is the first `n_times` samples, in float64.
        """
        if not self.recursive:
            starts = [0 if self.causal else (len(taps) - 1) // 2 for taps in self.fir_list]
            return stack_taps([*self.fir_list], starts)
        if n_times > self.prepared.shape[1]:
            return self._respond(n_times), 0
        return self.prepared[:, :n_times], 0

    def _respond(self, n_times: int) -> Float[Tensor, "{self.n_bands} {n_times}"]:
        """Compute the impulse responses of the recursive filters as they are stored."""
        filters = [(b.cpu().numpy(), a.cpu().numpy()) for b, a in zip(self.b_list, self.a_list, strict=True)]
        return impulse_responses(filters, n_times).to(self.b_list[0].device)

    def _apply(self, fn: Callable[[Tensor], Tensor], recurse: bool = True) -> nn.Module:
        """Move the filters, but keep their precision: rounded coefficients are other filters."""

        def move(filters: Tensor) -> Tensor:
            moved = fn(filters)
            return moved if moved.dtype == filters.dtype else filters.to(moved.device)

        return super()._apply(move, recurse)


def prepare_again(bank: FilterBank, keys: Any) -> None:
    """Follow the coefficients that were loaded; where nothing holds values, there is nothing to follow."""
    if not bank.b_list[0].is_meta:
        bank.prepared = bank._respond(bank.prepared.shape[1])


def joining_pays(x: Tensor, bank: nn.Module, spatial_conv: nn.Module) -> bool:
    """Whether filtering and mixing at once is faster, and nothing hooks or replaces the two modules."""
    # What is compiled serves any number of windows, and must not count those it is compiled with.
    if not torch.compiler.is_compiling() and len(x) < FEW_WINDOWS:
        return False
    if type(bank) is not FilterBank or bank.two_pass or type(spatial_conv) is not nn.Sequential:
        return False
    kinds = ("_forward_hooks", "_forward_pre_hooks", "_backward_hooks", "_backward_pre_hooks")
    modules = (bank, spatial_conv, spatial_conv[0])
    hooked = any(getattr(module, kind) for module in modules for kind in kinds)
    return type(spatial_conv[0]) is nn.Conv2d and not hooked


def filter_and_mix(
    x: Float[Tensor, "batch n_chans n_times"], bank: FilterBank, spatial_conv: nn.Sequential
) -> Float[Tensor, "batch n_filters 1 n_times"]:
    """Give what ``spatial_conv(bank(x))`` does, faster: filters and spatial weights are both linear."""
    conv, norm, activation = spatial_conv
    responses, start = bank._responses(x.shape[-1])  # (n_bands, n_taps)
    weights = conv.weight.squeeze(-1)  # (n_filters, n_bands, n_chans)
    maps = convolve_and_mix(x, responses, start, weights)  # (batch, n_filters, n_times)
    maps = maps.to(x.dtype) + conv.bias[:, None]
    return activation(norm(maps.unsqueeze(2)))  # (batch, n_filters, 1, n_times)


class LightweightConv(nn.Module):
    """Weight the patches of a window and add them up; many maps share one kernel."""

    def __init__(
        self, n_filters: int, n_patches: int, n_heads: int, weight_softmax: bool, bias: bool
    ) -> None:
        super().__init__()
        if n_filters % n_heads:
            raise ValueError(
                f"heads must divide n_filters_spat={n_filters}, got {n_heads}. The published model uses 8 "
                "heads and 64 spatial filters."
            )
        self.n_heads = n_heads
        self.weight_softmax = weight_softmax
        self.weight = nn.Parameter(torch.empty(n_heads, 1, n_patches))
        self.bias = nn.Parameter(torch.zeros(n_filters)) if bias else None
        nn.init.xavier_uniform_(self.weight)

    def forward(self, power: Float[Tensor, "batch n_filters n_patches"]) -> Float[Tensor, "batch n_filters"]:
        """Average the patches of every map."""
        groups = power.unflatten(1, (-1, self.n_heads))  # (batch, maps of one head, n_heads, n_patches)
        features = (groups * self.kernels()).sum(dim=-1).flatten(1)  # (batch, n_filters)
        return features if self.bias is None else features + self.bias

    def kernels(self) -> Float[Tensor, "n_heads n_patches"]:
        """Give the weights of the patches as they are used."""
        weights = self.weight.squeeze(1)  # (n_heads, n_patches)
        return weights.softmax(dim=-1) if self.weight_softmax else weights


def log_variance(
    patches: Float[Tensor, "batch n_filters n_patches patch_size"],
) -> Float[Tensor, "batch n_filters n_patches"]:
    """Take the logarithm of the variance of every patch.

    Parameters
    ----------
    patches : torch.Tensor, shape (batch, n_filters, n_patches, patch_size)
        Patches in any unit.

    Returns
    -------
    power : torch.Tensor, shape (batch, n_filters, n_patches)
        Natural logarithm of the unbiased variance, which is kept between 1e-6 and 1e6.
    """
    precise = at_least_single(patches)
    # torch.var computes the same, several times slower.
    centred = precise - precise.mean(dim=-1, keepdim=True)  # (batch, n_filters, n_patches, patch_size)
    variance = centred.square().sum(dim=-1) / (patches.shape[-1] - 1)  # (batch, n_filters, n_patches)
    return variance.clamp(LEAST_VARIANCE, LARGEST_VARIANCE).log().to(patches.dtype)


def frozen(filters: Sequence[Any], dtype: torch.dtype) -> nn.ParameterList:
    """Keep coefficients in the state of a model, out of reach of optimisers."""
    return nn.ParameterList(
        nn.Parameter(torch.tensor(taps, dtype=dtype), requires_grad=False) for taps in filters
    )


def check_patches(n_times: int, patch_size: int, variance_axis: int) -> None:
    """Refuse sizes that leave no variance, or none per patch."""
    if not 2 <= patch_size <= n_times:
        raise ValueError(
            f"win_len must lie between 2 and the window's {n_times} samples, got {patch_size}. "
            "Pass longer windows or another win_len."
        )
    if variance_axis not in (3, -1):
        raise ValueError(
            f"n_dim must be 3, the axis of the samples of a patch, got {variance_axis}. "
            "Over another axis no value is left per patch."
        )
