"""What a class of models states about itself as data: its parts, its tokens, and how its weights load."""

from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from typing import Any


@dataclass(frozen=True)
class Layout:
    """Parts of a model, by their dotted names, and what is known about its tokens, arguments and files.

    Attributes
    ----------
    blocks : str or tuple of str
        The list of transformer or residual blocks, from the input to the output, or, where there is no such
        list, the layers themselves.
    embedding : tuple of str
        What makes tokens: the lowest layer.
    top : tuple of str
        What stands between the last block and the head.
    head : tuple of str
        What reads the encoder's output for a task, `final_layer` first.
    front : tuple of str
        What belongs to the task and stands before the encoder, such as a projection of channels.
    projections : str
        Linear maps of attention and MLP, and convolutions in their place, that adapters join, as a regular
        expression.
    tables : tuple of str
        Learned tokens and tables of channels: rows that are not used must not decay.
    fixed : tuple of str
        What never learns, or takes no part in classification; ``{last}`` is the number of the last block.
    pads : bool
        Zeros complete the last patch of a window; otherwise samples that do not fill it are left out.
    moments_apart : bool
        Attention relates the tokens of one moment, and treats every moment of a window on its own.
    sizes : callable
        Takes the number of channels and the sampling rate of a recording in Hz, and returns arguments beside
        those of the signal that make a fresh model fit it.
    pretraining_arguments : mapping
        Arguments that build an encoder without a head, as pretraining trains it.
    derived_modules : tuple of str
        Buffers and modules whose tensors follow from the constructor's arguments.
    pretraining_modules : tuple of str
        Modules that published checkpoints hold beside the encoder and that the encoder does not use.
    fixed_arguments : tuple of str
        Constructor's arguments that weights were trained with and that no shape reveals: another value
        loads without complaint and computes something else.
    published_names : tuple of (str, str)
        Names of tensors in the authors' checkpoints, as regular expressions, and what replaces them.
    """

    blocks: str | tuple[str, ...] = ()
    embedding: tuple[str, ...] = ()
    top: tuple[str, ...] = ()
    head: tuple[str, ...] = ("final_layer",)
    front: tuple[str, ...] = ()
    projections: str = ""
    tables: tuple[str, ...] = ()
    fixed: tuple[str, ...] = ()
    pads: bool = False
    moments_apart: bool = False
    sizes: Callable[[int, float], dict[str, Any]] = lambda n_chans, sfreq: {}
    pretraining_arguments: Mapping[str, Any] = field(default_factory=dict)
    derived_modules: tuple[str, ...] = ()
    pretraining_modules: tuple[str, ...] = ()
    fixed_arguments: tuple[str, ...] = ()
    published_names: tuple[tuple[str, str], ...] = ()

    @property
    def task_modules(self) -> tuple[str, ...]:
        """What belongs to a task, not to the encoder: it learns in every regime, and may start fresh."""
        return (*self.head, *self.front)


def transformer_projections(blocks: str) -> str:
    """Name the linear maps of attention and MLP in a list of transformer blocks, as a regular expression."""
    return blocks.replace(".", r"\.") + r"\.\d+\.(attn\.(qkv|proj)|mlp\.fc[12])"
