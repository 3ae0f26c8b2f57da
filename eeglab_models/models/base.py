"""What every model can do: know its input, its configuration, its head and its weights."""

import re
from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager
from typing import Any, ClassVar

import numpy as np
import torch
from jaxtyping import Float
from torch import Tensor, nn

from eeglab_models.models.arguments import LAYER_CLASSES, parameters_of, read_arguments, to_plain
from eeglab_models.models.channels import ChannelIds
from eeglab_models.models.contract import Contract
from eeglab_models.models.hub import HubMixin
from eeglab_models.models.layout import Layout
from eeglab_models.models.tokens import Tokens, patch_tokens

SIGNAL_ARGUMENTS = ("n_outputs", "n_chans", "chs_info", "n_times", "input_window_seconds", "sfreq")


def signal_property(name: str, description: str, remedy: str) -> property:
    """Make a property of one of the `SIGNAL_ARGUMENTS`, an error where it is not known."""

    def get(model: "EEGModel") -> Any:
        if model._signal[name] is None:
            raise ValueError(f"{type(model).__name__} needs {name}, and nothing tells it. Pass {remedy}.")
        return model._signal[name]

    return property(get, doc=description)


class EEGModel(nn.Module, HubMixin):
    """A model of EEG windows with a head for a task.

    Subclasses begin their constructor with ``super().__init__(locals())``, set `patch_size`, `patch_stride`
    and `embed_dim`, name their head `final_layer`, and return a fresh one from a method `_build_head`. They
    state `contract` and `layout`, and answer `encode`. Where tokens are no patches of channels, they
    override `_feature_tokens`, `_attention_tokens`, `_line_up` and `_read_block`, which other rooms call.

    Parameters
    ----------
    arguments : dict
        Arguments of the subclass's constructor, by name. They are the model's configuration.

    Attributes
    ----------
    contract : Contract
        What published weights of the model expect of its input.
    layout : Layout
        Parts of the model by name, and what loading, training and interpreting have to know of them.
    patch_size, patch_stride : int
        Samples of a patch, and from the start of one patch to the start of the next.
    embed_dim : int
        Width of the encoder's tokens.

    Raises
    ------
    ValueError
        If the signal arguments contradict each other or are not positive.
    """

    contract: ClassVar[Contract]
    layout: ClassVar[Layout] = Layout()
    patch_size: int
    patch_stride: int
    embed_dim: int

    n_outputs = signal_property("n_outputs", "Number of outputs, such as classes.", "n_outputs")
    n_chans = signal_property("n_chans", "Number of EEG channels.", "n_chans or chs_info")
    chs_info = signal_property(
        "chs_info", 'One dictionary per channel, as in ``mne.Info["chs"]``.', 'chs_info=info["chs"]'
    )
    n_times = signal_property("n_times", "Samples of a window.", "n_times, or input_window_seconds and sfreq")
    input_window_seconds = signal_property(
        "input_window_seconds", "Length of a window in seconds.", "input_window_seconds, or n_times and sfreq"
    )
    sfreq = signal_property(
        "sfreq", "Sampling frequency in Hz.", "sfreq, or n_times and input_window_seconds"
    )

    def __init__(self, arguments: dict[str, Any]) -> None:
        super().__init__()
        # The caller's locals() are all arguments as they are; huggingface_hub's own record, of what JSON can
        # hold, has no classes.
        self.arguments = {name: arguments[name] for name in parameters_of(type(self)) if name in arguments}
        self._signal = complete_signal(arguments)

    @classmethod
    def _layer_classes(cls) -> dict[str, type[nn.Module]]:
        """Classes that a configuration may name, by their published name."""
        return LAYER_CLASSES

    @classmethod
    def sizes_for(cls, n_chans: int, sfreq: float) -> dict[str, Any]:
        """Choose arguments beside those of the signal that make a fresh model fit a recording.

        Parameters
        ----------
        n_chans : int
            Number of EEG channels.
        sfreq : float
            Sampling frequency in Hz.

        Returns
        -------
        arguments : dict
            Arguments of the constructor by name.
        """
        return cls.layout.sizes(n_chans, sfreq)

    @property
    def n_patches(self) -> int:
        """Number of patches of one channel in a window of `n_times` samples."""
        return self.count_patches(self.n_times)

    def find_blocks(self) -> nn.ModuleList:
        """Find the transformer or residual blocks; some models have none.

        Returns
        -------
        blocks : torch.nn.ModuleList
            From the input to the output.
        """
        name = self.layout.blocks
        return self.get_submodule(name) if isinstance(name, str) else nn.ModuleList()

    def count_patches(self, n_times: int) -> int:
        """Count the patches of one channel in a window.

        Parameters
        ----------
        n_times : int
            Samples of the window.

        Returns
        -------
        n_patches : int
            Patches, the last one filled with zeros where the model does so.
        """
        n_steps, rest = divmod(n_times - self.patch_size, self.patch_stride)
        return n_steps + 1 + (self.layout.pads and rest > 0)

    def patch_times(self, n_times: int, sfreq: float) -> Float[np.ndarray, " n_patches"]:
        """Find the middle of every patch.

        Parameters
        ----------
        n_times : int
            Samples of the window.
        sfreq : float
            Sampling frequency in Hz.

        Returns
        -------
        times : numpy.ndarray, shape (n_patches,)
            Seconds from the start of the window.
        """
        starts = np.arange(self.count_patches(n_times)) * self.patch_stride
        return (starts + self.patch_size / 2) / sfreq

    def encode(self, x: Tensor, **ids: Any) -> Float[Tensor, "batch n_places n_patches embed_dim"]:
        """Describe windows by the tokens that the head reads, in the one form of all models.

        Parameters
        ----------
        x : torch.Tensor, shape (batch, n_chans, n_times)
            EEG windows in the unit of the model's contract.
        **ids
            ``channel_ids``, for models that take them.

        Returns
        -------
        tokens : torch.Tensor, shape (batch, n_places, n_patches, embed_dim)
            Places are channels, or EEGPT's summary tokens. FBLightConvNet describes a whole window by one
            token.

        Raises
        ------
        NotImplementedError
            Here; subclasses encode.
        """
        raise NotImplementedError(f"{type(self).__name__} has to say how it encodes windows.")

    def _read_block(self, output: Tensor, x: Tensor) -> Float[Tensor, "batch n_places n_patches _"]:
        """Bring what a block puts out for the windows `x` to the form of `encode`."""
        return output.unflatten(1, (x.shape[1], -1))

    def _line_up(
        self, tokens: Float[Tensor, "batch n_places n_patches embed_dim"]
    ) -> Float[Tensor, "batch n_tokens _"]:
        """Line up tokens in the order in which `_feature_tokens` names them."""
        return tokens.flatten(1, 2)

    def _feature_tokens(self, ch_names: Sequence[str], n_times: int, sfreq: float) -> Tokens:
        """Name the tokens of `encode`, one after the other, for windows of these channels."""
        return patch_tokens(ch_names, self.patch_times(n_times, sfreq))

    def _attention_tokens(
        self, ch_names: Sequence[str], n_times: int, sfreq: float, channel_ids: ChannelIds | None = None
    ) -> Tokens:
        """Name the tokens that the last blocks relate; blocks with fewer tokens have the last of these."""
        return patch_tokens(ch_names, self.patch_times(n_times, sfreq))

    @property
    def input_shape(self) -> tuple[int, int, int]:
        """Shape of one window as a batch: (1, n_chans, n_times)."""
        return (1, self.n_chans, self.n_times)

    def check_input(self, x: Tensor, n_times_least: int) -> None:
        """Refuse windows that this model cannot read.

        Parameters
        ----------
        x : torch.Tensor, shape (batch, n_chans, n_times)
            EEG windows in the unit of the model's contract.
        n_times_least : int
            Samples that a window needs at least.

        Raises
        ------
        ValueError
            If the number of axes or channels is not the model's, or if windows are too short.
        """
        name = type(self).__name__
        if x.ndim != 3:
            raise ValueError(
                f"{name} reads windows of shape (batch, n_chans, n_times), got {tuple(x.shape)}. "
                "Add a batch axis with x[None] if this is a single window."
            )
        if x.shape[1] != self.n_chans:
            raise ValueError(
                f"{name} was built for {self.n_chans} channels, got {x.shape[1]}. "
                f"Build it with n_chans={x.shape[1]}, or pick the channels it was built for."
            )
        if x.shape[2] < n_times_least:
            raise ValueError(
                f"{name} needs windows of at least {n_times_least} samples, got {x.shape[2]}. "
                "Pass longer windows."
            )

    @torch.no_grad()
    def get_output_shape(self) -> tuple[int, ...]:
        """Shape of the output for one window; the model stays as it is.

        Returns
        -------
        shape : tuple of int
            For a classifier (1, n_outputs). Of several outputs, the first one's.
        """
        parameter = next(self.parameters())
        with evaluating(self):
            output = self(torch.zeros(self.input_shape, dtype=parameter.dtype, device=parameter.device))
        if isinstance(output, dict):
            output = output["features"]
        return tuple(output[0].shape if isinstance(output, tuple) else output.shape)

    def reset_head(self, n_outputs: int) -> None:
        """Replace the head by a fresh one; everything else stays.

        A model that was built without a head, or to return features or codes, becomes a plain classifier.

        Parameters
        ----------
        n_outputs : int
            Number of outputs of the new head.

        Raises
        ------
        ValueError
            If `n_outputs` is not positive.
        """
        if n_outputs < 1:
            raise ValueError(f"n_outputs must be positive, got {n_outputs}.")
        for option in {"return_features", "pretrain_mode"} & set(self.arguments):
            self.arguments[option] = False
            setattr(self, option, False)
        self._renew_head(n_outputs)

    def _renew_head(self, n_outputs: int) -> None:
        """Replace the head, and leave the form of the output that was asked for at construction."""
        self._signal["n_outputs"] = n_outputs
        self.arguments["n_outputs"] = n_outputs
        if "return_encoder_output" in self.arguments:
            self.return_encoder_output = self.arguments["return_encoder_output"] = False
        if "final_layer" in self.arguments:
            self.arguments["final_layer"] = None
        parameter = next(self.final_layer.parameters(), next(self.parameters()))
        self.final_layer = self._build_head().to(parameter.device, parameter.dtype).train(self.training)

    def get_config(self) -> dict[str, Any]:
        """Write the constructor's arguments as plain values, ready for JSON.

        Returns
        -------
        config : dict
            Every argument by name; classes as their published names, channels as plain numbers.

        Raises
        ------
        ValueError
            If an argument is a class that a configuration cannot name.
        """
        names = {layer: name for name, layer in self._layer_classes().items()}
        config = {}
        for argument, value in self.arguments.items():
            if callable(value) and value not in names:
                name = getattr(value, "__qualname__", value)
                raise ValueError(
                    f"{argument}={name} cannot be written to a configuration, which may only name "
                    f"{', '.join(sorted(layer.__name__ for layer in names))}. Save the state_dict instead."
                )
            config[argument] = names[value] if callable(value) else to_plain(value)
        if self._signal["chs_info"] is not None:
            config["chs_info"] = [write_channel(channel) for channel in self.chs_info]
        return config

    @classmethod
    def from_config(cls, config: Mapping[str, Any]) -> "EEGModel":
        """Build a model, with fresh weights, from a configuration.

        Parameters
        ----------
        config : dict
            As returned by `get_config`, also after a round trip through JSON.

        Returns
        -------
        model : EEGModel
            A new model of this class.

        Raises
        ------
        ValueError
            If the configuration names arguments or classes that are not known, or holds values of another
            type, or larger ones, than an argument can have.
        """
        arguments = read_arguments(cls, config)
        try:
            return cls(**arguments)
        except (ArithmeticError, LookupError, TypeError) as error:
            raise ValueError(
                f"This configuration builds no {cls.__name__} ({error!r}). Compare it with that of a model "
                "that was saved."
            ) from error

    @classmethod
    def _translate(cls, state_dict: Mapping[str, Tensor]) -> dict[str, Tensor]:
        """Give tensors of the authors' checkpoints the names they have here; other names stay."""
        translated = {}
        for name, tensor in state_dict.items():
            for published, here in cls.layout.published_names:
                name = re.sub(published, here, name)
            translated[name] = tensor
        return translated

    def load_state_dict(
        self, state_dict: Mapping[str, Tensor], strict: bool = True, assign: bool = False
    ) -> Any:
        """Copy tensors into the model, under their published or their present names.

        Parameters
        ----------
        state_dict : dict of torch.Tensor
            Tensors by name.
        strict, assign : bool
            Refuse missing and unknown names, and use the tensors themselves instead of copying their values.

        Returns
        -------
        keys : NamedTuple
            `missing_keys` and `unexpected_keys`.
        """
        return super().load_state_dict(self._translate(state_dict), strict=strict, assign=assign)


def known_models() -> dict[str, type[EEGModel]]:
    """List the classes of models that are imported and state a layout.

    Returns
    -------
    models : dict of type
        By name, in alphabetical order.
    """
    models = (model for model in EEGModel.__subclasses__() if "layout" in vars(model))
    return {model.__name__: model for model in sorted(models, key=lambda model: model.__name__)}


def cut_batches(
    data: Any, batch_size: int, model: nn.Module
) -> Iterator[tuple[slice, Float[Tensor, "batch n_chans n_times"]]]:
    """Move windows, an array or a tensor, to a model and its precision, batch by batch."""
    parameter = next(model.parameters())
    for first in range(0, len(data), batch_size):
        part = slice(first, first + batch_size)
        # A copy, because what is mapped from disk may be read-only.
        x = data[part] if isinstance(data, Tensor) else torch.from_numpy(np.array(data[part]))
        yield part, x.to(parameter.device, parameter.dtype)


@contextmanager
def evaluating(model: nn.Module) -> Iterator[None]:
    """Put a model in evaluation mode; afterwards, also after an error, every module is as it was."""
    modes = [(module, module.training) for module in model.modules()]
    try:
        model.eval()
        yield
    finally:
        for module, training in modes:
            module.training = training


def complete_signal(arguments: Mapping[str, Any]) -> dict[str, Any]:
    """Check the signal arguments and infer what follows from them; None stays where nothing does."""
    n_outputs, n_chans, chs_info, n_times, seconds, sfreq = (arguments[name] for name in SIGNAL_ARGUMENTS)
    for name in ("n_outputs", "n_chans", "n_times", "input_window_seconds", "sfreq"):
        if arguments[name] is not None and not arguments[name] > 0:
            raise ValueError(f"{name} must be positive, got {arguments[name]}.")
    if n_chans is not None and chs_info is not None and len(chs_info) != n_chans:
        raise ValueError(
            f"n_chans={n_chans} contradicts chs_info, which describes {len(chs_info)} channels. "
            "Pass one of them."
        )
    if None not in (n_times, seconds, sfreq) and n_times != round(seconds * sfreq):
        raise ValueError(
            f"n_times={n_times} contradicts input_window_seconds={seconds} at sfreq={sfreq}, "
            f"which are {round(seconds * sfreq)} samples. Pass two of the three."
        )
    if chs_info is not None:
        chs_info = [read_channel(channel) for channel in chs_info]
        n_chans = len(chs_info) or None
    if n_times is None and None not in (seconds, sfreq):
        n_times = round(seconds * sfreq)
    elif seconds is None and None not in (n_times, sfreq):
        seconds = n_times / sfreq
    elif sfreq is None and None not in (n_times, seconds):
        sfreq = n_times / seconds
    return dict(zip(SIGNAL_ARGUMENTS, (n_outputs, n_chans, chs_info, n_times, seconds, sfreq), strict=True))


def read_channel(channel: Mapping[str, Any]) -> dict[str, Any]:
    """Copy a channel's description, its position as an array whether it comes from mne or from JSON."""
    channel = dict(channel)
    if channel.get("loc") is not None:
        channel["loc"] = np.asarray(channel["loc"], dtype=float)
    return channel


def write_channel(channel: Mapping[str, Any]) -> dict[str, Any]:
    """Describe a channel in plain values: those that a configuration publishes."""
    plain = {"ch_name": str(channel.get("ch_name", ""))}
    for key, kind in (("kind", int), ("coil_type", int), ("unit", int), ("cal", float), ("range", float)):
        if channel.get(key) is not None:
            plain[key] = channel[key] if isinstance(channel[key], str) else kind(channel[key])
    if channel.get("loc") is not None:
        plain["loc"] = np.asarray(channel["loc"], dtype=float).tolist()
    return plain
