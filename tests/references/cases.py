"""Configurations whose outputs are compared with the reference implementation's.

Plain data, read by both sides: `make.py` runs them in the reference implementation, the tests in ours.
Sizes differ on every axis and do not divide each other.
"""

from dataclasses import dataclass
from typing import Any

from torch import nn

CHANNELS = [{"ch_name": name} for name in ("Fp1", "FCz", "c3", "OZ.", "T7")]
UNKNOWN_CHANNELS = [{"ch_name": name} for name in ("Fp1", "X1", "C3", "EMG")]


class FlatProbe(nn.Linear):
    """A head without arguments, as `final_layer` of EEGPT asks for."""

    def __init__(self) -> None:
        super().__init__(5 * 2 * 12, 3)


@dataclass(frozen=True)
class Case:
    """One configuration: how to build it, what to feed it, which outputs to keep."""

    model: str
    name: str
    arguments: dict[str, Any]
    batch: int = 2
    scale: float = 1.0  # standard deviation of the input
    n_times: int | None = None  # of the input, where it differs from the model's
    calls: tuple[str, ...] = ("output",)  # output, features, masked, train
    fresh: bool = False  # keep the state of a model that never ran
    gradients: bool = True  # the reference cannot differentiate its recursive filters
    warns: str | None = None  # the warning to expect at construction
    full_size: bool = False  # too large for git: compared by hand
    preset: str | None = None  # of EEGDINO_CONFIGS

    @property
    def id(self) -> str:
        """Name of the case across models, and of its file."""
        return f"{self.model.lower()}-{self.name}"


CONVS = ((6, 9, 5, 4, (3, 6)), (4, 3, 1, 1, (2, 4)))
DINO = {
    "n_outputs": 3,
    "n_chans": 3,
    "n_times": 60,
    "patch_size": 15,
    "n_layer": 2,
    "nhead": 4,
    "dim_feedforward": 18,
    "channels_kernel_stride_padding_norm": CONVS,
    "n_channel_embeddings": 5,
}
BRAIN = {
    "n_outputs": 3,
    "n_chans": 3,
    "n_times": 100,
    "patch_size": 20,
    "res_channels": 6,
    "skip_channels": 7,
    "out_channels": 6,
    "num_res_layers": 2,
    "s4_lmax": 40,
    "conv_out_chans": 5,
    "conv_groups": 5,
    "proj_kernel_size": 9,
    "proj_padding": 4,
    "pos_kernel": (3, 5),
    "mlp_hidden_multiplier": 2,
    "codebook_size_t": 11,
    "codebook_size_f": 13,
}
SHORT = BRAIN | {"num_res_layers": 1}
GPT = {
    "n_outputs": 3,
    "n_chans": 5,
    "n_times": 96,
    "patch_size": 16,
    "patch_stride": 20,
    "embed_num": 2,
    "embed_dim": 12,
    "depth": 2,
    "num_heads": 3,
    "n_chans_target": 19,
}
LIGHT = {
    "n_outputs": 3,
    "n_chans": 4,
    "n_times": 200,
    "sfreq": 100,
    "win_len": 40,
    "n_filters_spat": 6,
    "heads": 3,
}
CHEBYSHEV = {
    "method": "iir",
    "phase": "forward",
    "iir_params": {"ftype": "cheby2", "rs": 30, "order": 4, "output": "ba"},
}
BOTH = ("output", "features")
TAIL = "do not fill the last patch"

CASES = [
    Case("EEGDINO", "default", DINO, calls=BOTH),
    Case(
        "EEGDINO",
        "two-global-tokens-after-layer-2",
        DINO | {"n_global_tokens": 2, "global_token_layer": 2},
        calls=BOTH,
    ),
    Case("EEGDINO", "padded-window", DINO | {"n_times": 65}, calls=BOTH, warns=TAIL),
    Case("EEGDINO", "heads-not-dividing", DINO | {"nhead": 3}),
    Case("EEGDINO", "other-activations", DINO | {"activation": nn.ELU, "patch_activation": nn.ReLU}),
    Case("EEGDINO", "encoder-output", DINO | {"return_encoder_output": True}),
    Case("CodeBrain", "default", BRAIN, calls=BOTH),
    Case("CodeBrain", "kernel-norm-not-set", SHORT, fresh=True),
    Case("CodeBrain", "one-direction", SHORT | {"s4_bidirectional": False}),
    Case("CodeBrain", "layer-norm", SHORT | {"s4_layernorm": True}),
    Case("CodeBrain", "window-3", BRAIN | {"swa_window_size": 3}),
    Case("CodeBrain", "window-wider-than-the-sequence", SHORT | {"swa_window_size": 31}),
    Case("CodeBrain", "sequence-longer-than-the-kernel", SHORT | {"n_times": 400, "s4_lmax": 12}, batch=1),
    Case("CodeBrain", "trimmed-window", SHORT | {"n_times": 110}, warns=TAIL),
    Case("CodeBrain", "gelu", SHORT | {"activation": nn.GELU}),
    Case("CodeBrain", "pretraining", SHORT | {"pretrain_mode": True}, calls=("output", "masked", "features")),
    Case("EEGPT", "default", GPT, calls=BOTH),
    Case("EEGPT", "linear-projection", GPT | {"chan_proj_type": "linear", "n_chans_target": 19}),
    Case(
        "EEGPT",
        "named-channels",
        GPT | {"chan_proj_type": "none", "n_chans": None, "chs_info": CHANNELS},
        calls=BOTH,
    ),
    Case(
        "EEGPT",
        "unknown-channels",
        GPT | {"chan_proj_type": "none", "n_chans": None, "chs_info": UNKNOWN_CHANNELS},
        warns="X1",
    ),
    Case("EEGPT", "channels-by-position", GPT | {"chan_proj_type": "none"}),
    Case("EEGPT", "no-stride", GPT | {"patch_stride": None, "n_times": 90}, warns=TAIL),
    Case("EEGPT", "encoder-output", GPT | {"return_encoder_output": True}),
    Case("EEGPT", "own-head", GPT | {"final_layer": FlatProbe}),
    Case("EEGPT", "no-bias", GPT | {"qkv_bias": False, "num_heads": 4, "layer_norm_eps": 1e-3}),
    Case("FBLightConvNet", "default", LIGHT, scale=10.0, calls=("output", "train")),
    Case("FBLightConvNet", "band-list", LIGHT | {"n_bands": [(4, 9), (8.5, 14), (13, 30)]}, scale=10.0),
    Case("FBLightConvNet", "four-bands", LIGHT | {"n_bands": 4}, scale=10.0),
    Case("FBLightConvNet", "nine-bands-by-none", LIGHT | {"n_bands": None}, scale=10.0),
    Case(
        "FBLightConvNet",
        "iir",
        LIGHT | {"n_bands": [(6, 12), (10, 20)], "filter_parameters": {"method": "iir"}},
        scale=10.0,
        gradients=False,
    ),
    Case(
        "FBLightConvNet",
        "chebyshev-forward",
        LIGHT | {"n_bands": [(6, 14), (10, 18)], "filter_parameters": CHEBYSHEV},
        scale=10.0,
        gradients=False,
    ),
    Case(
        "FBLightConvNet",
        "fir-forward",
        LIGHT | {"n_bands": 3, "filter_parameters": {"phase": "forward"}},
        scale=10.0,
        gradients=False,
    ),
    Case(
        "FBLightConvNet",
        "bias-no-softmax",
        LIGHT | {"bias": True, "weight_softmax": False, "activation": nn.Tanh},
        scale=10.0,
    ),
    Case("FBLightConvNet", "truncated-window", LIGHT | {"n_times": 211}, scale=10.0, warns=TAIL),
    Case(
        "EEGDINO",
        "small",
        {"n_outputs": 6, "n_chans": 19, "n_times": 2000, "sfreq": 200},
        calls=BOTH,
        full_size=True,
    ),
    Case(
        "EEGDINO", "medium", {"n_outputs": 6, "n_chans": 19, "n_times": 800}, preset="medium", full_size=True
    ),
    Case(
        "EEGDINO",
        "large",
        {"n_outputs": 6, "n_chans": 19, "n_times": 400},
        batch=1,
        preset="large",
        full_size=True,
    ),
    Case(
        "CodeBrain",
        "published-30-s",
        {"n_outputs": 5, "n_chans": 19, "n_times": 6000},
        calls=BOTH,
        full_size=True,
    ),
    Case(
        "CodeBrain",
        "published-window-7",
        {"n_outputs": 5, "n_chans": 19, "n_times": 2000, "swa_window_size": 7},
        full_size=True,
    ),
    Case(
        "CodeBrain",
        "published-pretraining",
        {"n_outputs": 5, "n_chans": 19, "n_times": 2000, "pretrain_mode": True},
        calls=("output", "masked"),
        full_size=True,
    ),
    Case(
        "EEGPT",
        "published-4-s",
        {"n_outputs": 4, "n_chans": 22, "n_times": 1024, "patch_stride": 64},
        calls=BOTH,
        full_size=True,
    ),
    Case("EEGPT", "class-defaults", {"n_outputs": 4, "n_chans": 22, "n_times": 1000}, full_size=True),
    Case(
        "FBLightConvNet",
        "paper-4-s",
        {"n_outputs": 4, "n_chans": 22, "n_times": 1000, "sfreq": 250, "n_filters_spat": 64},
        batch=8,
        scale=10.0,
        calls=("output", "train"),
        full_size=True,
    ),
]
