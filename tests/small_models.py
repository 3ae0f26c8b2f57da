"""Sizes of models that build and run in milliseconds, different for every axis."""

CODEBRAIN = {
    "res_channels": 6,
    "skip_channels": 5,
    "out_channels": 7,
    "num_res_layers": 2,
    "s4_lmax": 12,
    "conv_out_chans": 10,
    "proj_kernel_size": 9,
    "proj_padding": 4,
    "pos_kernel": (3, 3),
}
EEGPT = {
    "n_chans": 7,
    "n_times": 96,
    "patch_size": 16,
    "patch_stride": None,
    "embed_num": 2,
    "embed_dim": 12,
    "depth": 2,
    "num_heads": 3,
    "chan_proj_type": "none",
}
