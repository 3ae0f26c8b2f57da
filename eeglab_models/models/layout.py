"""What a class of models states about itself as data: its parts, its tokens, and how its weights load."""

from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from typing import Any


@dataclass(frozen=True)
class Layout:
    """Parts of a model, by their dotted names, and what is known about its tokens, arguments and files."""

    # The list of transformer or residual blocks, from the input to the output, or the layers themselves.
    blocks: str | tuple[str, ...] = ()
    # What makes tokens: the lowest layer.
    embedding: tuple[str, ...] = ()
    # What stands between the last block and the head.
    top: tuple[str, ...] = ()
    # What reads the encoder's output for a task, `final_layer` first.
    head: tuple[str, ...] = ("final_layer",)
    # What belongs to the task and stands before the encoder, such as a projection of channels.
    front: tuple[str, ...] = ()
    # Linear maps of attention and MLP, and convolutions in their place, that adapters join: a pattern.
    projections: str = ""
    # Learned tokens and tables of channels: rows that are not used must not decay.
    tables: tuple[str, ...] = ()
    # What never learns, or takes no part in classification; ``{last}`` is the number of the last block.
    fixed: tuple[str, ...] = ()
    # Zeros complete the last patch of a window; otherwise samples that do not fill it are left out.
    pads: bool = False
    # Attention relates the tokens of one moment, and treats every moment of a window on its own.
    moments_apart: bool = False
    # From a recording's number of channels and rate in Hz: arguments that make a fresh model fit it.
    sizes: Callable[[int, float], dict[str, Any]] = lambda n_chans, sfreq: {}
    # Arguments that build an encoder without a head, as pretraining trains it.
    pretraining_arguments: Mapping[str, Any] = field(default_factory=dict)
    # Buffers and modules whose tensors follow from the constructor's arguments.
    derived_modules: tuple[str, ...] = ()
    # Modules that published checkpoints hold beside the encoder and that the encoder does not use.
    pretraining_modules: tuple[str, ...] = ()
    # Arguments that no shape reveals: another value than in training loads, and computes something else.
    fixed_arguments: tuple[str, ...] = ()
    # Names of tensors in the authors' checkpoints, as patterns, and what replaces them.
    published_names: tuple[tuple[str, str], ...] = ()

    @property
    def task_modules(self) -> tuple[str, ...]:
        """What belongs to a task, not to the encoder: it learns in every regime, and may start fresh."""
        return (*self.head, *self.front)


def transformer_projections(blocks: str) -> str:
    """Name the linear maps of attention and MLP in a list of transformer blocks, as a regular expression."""
    return blocks.replace(".", r"\.") + r"\.\d+\.(attn\.(qkv|proj)|mlp\.fc[12])"
