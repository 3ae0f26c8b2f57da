"""Checkpoints as their authors saved them, converted once to ``config.json`` and ``model.safetensors``.

What the shapes of the tensors tell about a model is read from them; the rest is taken from what is
published, and the report names it.

The names of CodeBrain's, EEGPT's and LightConvNet's tensors are those of the authors' files or code. Those
of EEG-DINO's student are known from a third party's converter only: what does not fit is named.
"""

import tempfile
from collections.abc import Callable, Mapping
from dataclasses import replace
from pathlib import Path
from typing import Any

from eeglab_models.configs import about, shorten
from eeglab_models.models.arguments import default_of, describe_argument, parameters_of
from eeglab_models.models.base import EEGModel
from eeglab_models.models.channels import EEGPT_TRAINED_CHANNELS
from eeglab_models.models.codebrain import CodeBrain
from eeglab_models.models.eegdino import EEGDINO, EEGDINO_CONFIGS
from eeglab_models.models.eegpt import EEGPT, PatchNormEmbed
from eeglab_models.models.fblightconvnet import FBLightConvNet
from eeglab_models.models.global_convolution import N_FILTERS
from eeglab_models.models.hub import fill_model
from eeglab_models.models.opening import State, choose_copy, find_copies, open_checkpoint, unwrap
from eeglab_models.models.report import LoadReport, fingerprint

__all__ = ["convert_checkpoint"]

Arguments = dict[str, Any]

# A tensor that a checkpoint of the model holds, by its name here, and of no other model.
LANDMARKS: dict[type[EEGModel], tuple[str, ...]] = {
    CodeBrain: ("residual_layer.residual_blocks.0.sgconv.skip_weight",),
    EEGDINO: (
        "patch_embedding.channel_embedding.weight",
        "module.teacher.patch_embedding.channel_embedding.weight",
    ),
    EEGPT: ("target_encoder.summary_token", "encoder.summary_token"),
    FBLightConvNet: ("spatial_conv.0.weight",),
}
# Encoders of one checkpoint by the prefix of their tensors; the first is the one to use by default.
ENCODERS: dict[type[EEGModel], dict[str, str]] = {
    EEGDINO: {"student": "module.student.", "teacher": "module.teacher."},
    EEGPT: {"target_encoder": "target_encoder.", "encoder": "encoder."},
}
# Heads of EEGPT's published sizes, by the width of a token.
EEGPT_HEADS = {64: 4, 128: 4, 256: 4, 512: 8}
# The filter bank of LightConvNet: Hz, where the stop bands end, 2 Hz outside of 4-8, 8-12, ..., 36-40 Hz.
PAPER_BANDS = [(low - 2.0, low + 6.0) for low in range(4, 40, 4)]
PAPER_FILTERS = {
    "method": "iir",
    "phase": "forward",
    "iir_params": {"ftype": "cheby2", "order": 4, "rs": 30},
}


def convert_checkpoint(
    source: str | Path,
    folder: str | Path,
    *,
    model: str | None = None,
    encoder: str | None = None,
    config: Mapping[str, Any] | None = None,
    n_outputs: int | None = None,
) -> LoadReport:
    """Convert a checkpoint of a model's authors, so that `from_pretrained` reads it.

    Parameters
    ----------
    source : str or pathlib.Path
        Checkpoint: a pickle of tensors (``.ckpt``, ``.pt``, ``.pth``, ``.bin``) or ``.safetensors``.
    folder : str or pathlib.Path
        Where ``config.json`` and ``model.safetensors`` go: new or empty.
    model : str or None
        Name of the model's class; None means the one that the names of the tensors fit.
    encoder : str or None
        Which encoder of the checkpoint: for EEGPT ``"target_encoder"``, the default, or ``"encoder"``; for
        EEGDINO ``"student"``, the default, or ``"teacher"``. Where a checkpoint holds several copies of a
        model, such as one and its moving average, the one to convert, by what stands before its names.
    config : dict or None
        Constructor arguments, as in ``config.json``, that replace what is read or assumed.
    n_outputs : int or None
        Number of outputs of the new head for a checkpoint without one. Without it, EEGPT and EEGDINO are
        built with ``return_encoder_output=True``.

    Returns
    -------
    report : LoadReport
        What was loaded, new, ignored and assumed.

    Raises
    ------
    FileNotFoundError
        If there is no such checkpoint.
    FileExistsError
        If the folder holds files.
    ValueError
        If the checkpoint holds more than tensors and plain values, or no tensors, if its model is not
        recognised, or if its tensors do not fit the model: the message names them.
    OSError
        If what was written cannot be read back.
    """
    source, folder = Path(source), Path(folder)
    if folder.exists() and (not folder.is_dir() or any(folder.iterdir())):
        raise FileExistsError(f"{folder} exists and is not empty. Choose a new folder.")
    state = open_checkpoint(source)
    cls = recognise(state, source) if model is None else find_class(model)
    with about(source):
        state, others, encoder = choose_model(state, cls, encoder, source)
        state, other_encoders = choose_encoder(state, cls, encoder)
        others |= other_encoders
        given = dict(config or {}) | ({} if n_outputs is None else {"n_outputs": n_outputs})

        told, published = READERS[cls](cls._translate(state), given)
        assumed = {name: default_of(cls, name) for name in cls.layout.fixed_arguments} | published
        if "input_window_seconds" in given:
            assumed.pop("n_times", None)
        assumed = {name: value for name, value in assumed.items() if name not in told | given}
        built = cls.from_config(complete_head(cls, assumed | told | given, told))
        asked = None if "n_outputs" in told else built.arguments["n_outputs"]
        report = fill_model(built, state, str(source), asked)
    save(built, folder)
    return replace(
        report,
        ignored=tuple(sorted({*report.ignored, *others})),
        assumed=tuple(describe_argument(*item) for item in sorted(assumed.items())),
    )


def find_class(name: str) -> type[EEGModel]:
    """Look up a model's class."""
    classes = {cls.__name__.lower(): cls for cls in LANDMARKS}
    if name.lower() not in classes:
        known = ", ".join(cls.__name__ for cls in LANDMARKS)
        raise ValueError(f"The model must be one of {known}, got {name!r}.")
    return classes[name.lower()]


def recognise(state: State, source: Path) -> type[EEGModel]:
    """Choose the model whose tensors a checkpoint holds, whatever stands before their names."""
    fitting = [cls for cls, landmarks in LANDMARKS.items() if find_copies(state, landmarks, cls._translate)]
    if len(fitting) != 1:
        looked_for = "; ".join(f"{cls.__name__}: {' or '.join(names)}" for cls, names in LANDMARKS.items())
        found = " and ".join(cls.__name__ for cls in fitting) or "none"
        raise ValueError(
            f"{source} must hold the tensors of one model, got {found}. Looked for {looked_for}; it holds "
            f"{shorten(sorted(state))}. Name the model if you know it."
        )
    return fitting[0]


def choose_model(
    state: State, cls: type[EEGModel], encoder: str | None, source: Path
) -> tuple[State, set[str], str | None]:
    """Keep one copy of the model, without its wrappers; what is left out, and the encoder to choose in it."""
    copies = find_copies(state, LANDMARKS[cls], cls._translate)
    if len(copies) < 2:
        return *unwrap(state, next(iter(copies.values()), "")), encoder
    chosen = choose_copy(copies, encoder)
    if chosen is None:
        raise ValueError(
            f"{source} holds several copies of {cls.__name__}: {' and '.join(map(repr, copies))}, got "
            f"encoder={encoder!r}. Name one of them by encoder=."
        )
    return *unwrap(state, chosen), None


def choose_encoder(state: State, cls: type[EEGModel], encoder: str | None) -> tuple[State, set[str]]:
    """Keep one encoder of several, under the name of the default one; say which tensors are left out."""
    prefixes = ENCODERS.get(cls, {})
    held = [name for name, prefix in prefixes.items() if any(key.startswith(prefix) for key in state)]
    if encoder is None:
        if held and held[0] != next(iter(prefixes)):
            raise ValueError(
                f"The checkpoint holds no {next(iter(prefixes))} of {cls.__name__}, but its {held[0]}. "
                f"Ask for it as encoder={held[0]!r}."
            )
        return state, set()
    if encoder not in held:
        offered = " and ".join(held) or "one encoder without a name"
        raise ValueError(f"The checkpoint of {cls.__name__} holds {offered}, got encoder={encoder!r}.")
    default, chosen = next(iter(prefixes.values())), prefixes[encoder]
    others = {key for key in state if key.startswith(tuple(prefixes.values())) and not key.startswith(chosen)}
    return {
        default + key.removeprefix(chosen) if key.startswith(chosen) else key: tensor
        for key, tensor in state.items()
        if key not in others
    }, others


def complete_head(cls: type[EEGModel], arguments: Arguments, told: Arguments) -> Arguments:
    """Decide what a checkpoint without a head becomes, and refuse a number of outputs that is not its own."""
    n_outputs = arguments.get("n_outputs")
    if n_outputs != told.get("n_outputs", n_outputs):
        raise ValueError(
            f"The head of the checkpoint has {told['n_outputs']} outputs, got n_outputs={n_outputs}. "
            f"Convert it as it is; from_pretrained(n_outputs={n_outputs}) replaces the head."
        )
    if n_outputs is not None:
        return arguments
    if "return_encoder_output" not in parameters_of(cls):
        raise ValueError(
            f"The checkpoint holds no head, and {cls.__name__} needs one. Pass n_outputs, the number of "
            "classes of your task."
        )
    return {"return_encoder_output": True} | arguments


def save(model: EEGModel, folder: Path) -> None:
    """Write a model's folder all at once, after reading it back."""
    folder.parent.mkdir(parents=True, exist_ok=True)
    with tempfile.TemporaryDirectory(dir=folder.parent, prefix=f".{folder.name}.") as temporary:
        written = Path(temporary) / "model"
        model.save_pretrained(written)
        again = type(model).from_pretrained(written)
        if fingerprint(again) != fingerprint(model):
            raise OSError(f"{folder} could not be read back as it was written. Check the disk.")
        if folder.exists():
            folder.rmdir()
        written.rename(folder)


def read_codebrain(state: State, given: Arguments) -> tuple[Arguments, Arguments]:
    """Tell what CodeBrain's tensors say of its arguments, and what is published of the others."""
    block = "residual_layer.residual_blocks.0."
    n_maps, _, _, kernel_size = shape_of(state, "patch_embedding.proj_in.0.weight", 4)
    n_pieces = count_numbered(state, f"{block}sgconv.kernel_list.")
    out_channels = shape_of(state, "norm.weight", 1)[0]
    published = {**published_window(CodeBrain), "n_chans": len(CodeBrain.contract.ch_names)}
    told = {
        "patch_size": 2 * (shape_of(state, "patch_embedding.spectral_proj.0.weight", 2)[1] - 1),
        "res_channels": shape_of(state, "init_conv.0.conv.bias", 1)[0],
        "skip_channels": shape_of(state, "final_conv.0.conv.bias", 1)[0],
        "out_channels": out_channels,
        "num_res_layers": count_numbered(state, "residual_layer.residual_blocks."),
        "s4_bidirectional": shape_of(state, f"{block}sgconv.kernel_list.0", 3)[0] == 2 * N_FILTERS,
        "s4_layernorm": f"{block}sgconv.norm.weight" in state,
        # Any number of tokens that needs as many pieces makes the same filters.
        "s4_lmax": 570 if n_pieces == 10 else 2**n_pieces,
        "conv_out_chans": n_maps,
        "proj_kernel_size": kernel_size,
        "proj_refine_kernel": shape_of(state, "patch_embedding.proj_in.3.weight", 4)[-1],
        "pos_kernel": shape_of(state, "patch_embedding.positional_encoding.0.weight", 4)[2:],
    }
    for argument, name in (("codebook_size_t", "lm_head_t"), ("codebook_size_f", "lm_head_f")):
        if f"{name}.weight" in state:
            told[argument] = shape_of(state, f"{name}.weight", 2)[0]
    if "final_layer.1.weight" in state:
        hidden_dim, n_features = shape_of(state, "final_layer.1.weight", 2)
        n_chans = given.get("n_chans", published["n_chans"])
        n_patches, rest = divmod(n_features, n_chans * out_channels)
        if rest:
            raise ValueError(
                f"The head of the checkpoint reads {n_features // out_channels} patches in all, which "
                f"{n_chans} channels cannot share. State n_chans in the configuration."
            )
        told["n_times"] = n_patches * told["patch_size"]
        told["mlp_hidden_multiplier"] = hidden_dim // out_channels
        told["n_outputs"] = shape_of(state, "final_layer.7.weight", 2)[0]
    return told, published


def read_eegdino(state: State, given: Arguments) -> tuple[Arguments, Arguments]:
    """Tell what EEG-DINO's tensors say of its arguments, and what is published of the others."""
    n_slots = shape_of(state, "patch_embedding.channel_embedding.weight", 2)[1]
    convs = []
    while f"patch_embedding.proj_in.{3 * len(convs)}.weight" in state:
        convs.append(shape_of(state, f"patch_embedding.proj_in.{3 * len(convs)}.weight", 4))
    told = {
        "patch_size": 2 * (shape_of(state, "patch_embedding.spectral_proj.0.weight", 2)[1] - 1),
        "n_layer": count_numbered(state, "encoder_layers."),
        "dim_feedforward": shape_of(state, "encoder_layers.0.mlp.fc1.weight", 2)[0],
        "n_channel_embeddings": n_slots,
        "n_global_tokens": shape_of(state, "global_tokens", 3)[1],
        "n_chans": n_slots,
    }
    if "channels_kernel_stride_padding_norm" not in given:
        told["channels_kernel_stride_padding_norm"] = find_published_convs(convs)
    if "final_layer.classifier.6.weight" in state:
        told["n_outputs"] = shape_of(state, "final_layer.classifier.6.weight", 2)[0]
    return told, published_window(EEGDINO)


def find_published_convs(convs: list[tuple[int, ...]]) -> Any:
    """Choose the published convolutions of EEG-DINO that have these shapes."""
    for preset in EEGDINO_CONFIGS.values():
        published = preset["channels_kernel_stride_padding_norm"]
        if [(maps, kernel) for maps, kernel, *_ in published] == [(conv[0], conv[-1]) for conv in convs]:
            return published
    raise ValueError(
        f"The convolutions of the checkpoint's patch embedding, of shapes {convs}, are those of no published "
        "EEG-DINO. State channels_kernel_stride_padding_norm in the configuration."
    )


def read_eegpt(state: State, given: Arguments) -> tuple[Arguments, Arguments]:
    """Tell what EEGPT's tensors say of its arguments, and what is published of the others."""
    block = "target_encoder.blocks.0."
    _, n_summary_tokens, embed_dim = shape_of(state, "target_encoder.summary_token", 3)
    patch_weight = shape_of(state, "target_encoder.patch_embed.proj.weight", 2, 3, 4)
    patch_size = patch_weight[-1]
    told = {
        "patch_size": patch_size,
        "patch_module": None if len(patch_weight) == 4 else PatchNormEmbed,
        "embed_num": n_summary_tokens,
        "embed_dim": embed_dim,
        "depth": count_numbered(state, "target_encoder.blocks."),
        "mlp_ratio": shape_of(state, f"{block}mlp.fc1.weight", 2)[0] / embed_dim,
        "qkv_bias": f"{block}attn.qkv.bias" in state,
    }
    published = {**published_window(EEGPT), "patch_stride": patch_size}
    if embed_dim in EEGPT_HEADS:
        published["num_heads"] = EEGPT_HEADS[embed_dim]
    for name, kind in (("parametrizations.weight.original", "conv1d_constraint"), ("weight", "linear")):
        if f"chan_proj.proj.{name}" in state:
            told["chan_proj_type"] = kind
            told["n_chans"] = shape_of(state, f"chan_proj.proj.{name}", 3)[1]
    if not {"chan_proj_type", "n_chans", "chs_info"} & set(told | given):
        told["chan_proj_type"] = "none"
        published["chs_info"] = [{"ch_name": name} for name in EEGPT_TRAINED_CHANNELS]
    if "final_layer.probe2.bias" in state:
        n_outputs, n_features = shape_of(state, "final_layer.probe2.parametrizations.weight.original", 2)
        told["n_outputs"] = n_outputs
        stride = given.get("patch_stride", patch_size) or patch_size
        told["n_times"] = patch_size + (n_features // 16 - 1) * stride
    return told, published


def read_fblightconvnet(state: State, given: Arguments) -> tuple[Arguments, Arguments]:
    """Tell what LightConvNet's tensors say of its arguments, and what is published of the others."""
    n_filters, n_bands, n_chans, _ = shape_of(state, "spatial_conv.0.weight", 4)
    heads, _, n_patches = shape_of(state, "attn_conv.weight", 3)
    told = {
        "n_filters_spat": n_filters,
        "n_chans": n_chans,
        "heads": heads,
        "bias": "attn_conv.bias" in state,
        "n_outputs": shape_of(state, "final_layer.weight", 2)[0],
    }
    win_len = given.get("win_len", default_of(FBLightConvNet, "win_len"))
    published = {
        "sfreq": FBLightConvNet.contract.sfreq,
        "n_times": n_patches * win_len,
        "win_len": win_len,
        "n_bands": PAPER_BANDS,
        "filter_parameters": PAPER_FILTERS,
    }
    if "n_bands" not in given and n_bands != len(PAPER_BANDS):
        raise ValueError(
            f"The checkpoint reads {n_bands} bands, and LightConvNet was published with {len(PAPER_BANDS)}. "
            "State n_bands and filter_parameters in the configuration."
        )
    return told, published


READERS: dict[type[EEGModel], Callable[[State, Arguments], tuple[Arguments, Arguments]]] = {
    CodeBrain: read_codebrain,
    EEGDINO: read_eegdino,
    EEGPT: read_eegpt,
    FBLightConvNet: read_fblightconvnet,
}


def published_window(cls: type[EEGModel]) -> Arguments:
    """Get sampling rate and length of the windows that a model was published for."""
    return {"sfreq": cls.contract.sfreq, "n_times": round(cls.contract.window * cls.contract.sfreq)}


def shape_of(state: State, name: str, *n_axes: int) -> tuple[int, ...]:
    """Get the shape of a tensor that the checkpoint must hold, with so many axes and at least one value."""
    if name not in state:
        raise ValueError(f"The checkpoint holds no {name}; it holds {shorten(sorted(state))}.")
    if state[name].ndim not in n_axes or not state[name].numel():
        expected, shape = " or ".join(map(str, n_axes)), tuple(state[name].shape)
        raise ValueError(f"{name} of the checkpoint should have {expected} axes, got the shape {shape}.")
    return tuple(state[name].shape)


def count_numbered(state: State, prefix: str) -> int:
    """Count the numbered modules or tensors that follow a prefix."""
    return len({name.removeprefix(prefix).split(".")[0] for name in state if name.startswith(prefix)})
