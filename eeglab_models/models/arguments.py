"""A constructor's arguments as plain values, and back: what a configuration may say of a model."""

import inspect
import json
from collections.abc import Callable, Collection, Iterator, Mapping
from numbers import Real
from typing import Any, get_args, get_origin

from torch import nn

from eeglab_models.configs import check_value

# Written by other libraries beside the constructor's arguments.
FOREIGN_KEYS = {"braindecode_version"}
# Ranges stand here and not in the annotations of constructors, which are the documented signatures; and most
# hold for many arguments at once.
# Numbers are at least 0, with one exception, and at most a billion. What is built one by one, layers and
# filters, and what makes filters long ends earlier.
LEAST = {"n_dim": -1}
LAYERS = ("n_layer", "depth", "num_res_layers", "n_layers", "n_decoder_layers")
LARGEST = dict.fromkeys(LAYERS, 1000) | {"n_bands": 1000, "sfreq": 5e4}
LARGEST_NUMBER = 1e9
# The only classes that a configuration can name; their published names are import paths, which are
# looked up here and never imported.
LAYER_CLASSES: dict[str, type[nn.Module]] = {
    f"{layer.__module__}.{layer.__qualname__}": layer
    for layer in (
        nn.CELU,
        nn.ELU,
        nn.GELU,
        nn.Hardswish,
        nn.Identity,
        nn.LayerNorm,
        nn.LeakyReLU,
        nn.Mish,
        nn.PReLU,
        nn.ReLU,
        nn.RMSNorm,
        nn.SELU,
        nn.Sigmoid,
        nn.SiLU,
        nn.Softplus,
        nn.Tanh,
    )
}


def parameters_of(cls: type) -> dict[str, inspect.Parameter]:
    """Parameters of a constructor by name, without ``self``."""
    return dict(list(inspect.signature(cls.__init__).parameters.items())[1:])


def default_of(cls: type, argument: str) -> Any:
    """Get the default of a constructor's argument."""
    return parameters_of(cls)[argument].default


def to_plain(value: Any) -> Any:
    """Write a value as configurations do: lists, plain numbers, and published names of classes."""

    def write(item: Any) -> Any:
        if hasattr(item, "tolist"):
            return item.tolist()
        return f"{item.__module__}.{getattr(item, '__qualname__', repr(item))}"

    return json.loads(json.dumps(value, default=write))


def describe_argument(name: str, value: Any) -> str:
    """Write an argument and its value, classes without their module, long lists by their length."""
    value = to_plain(value)
    text = value.rpartition(".")[2] if isinstance(value, str) else str(value)
    if isinstance(value, list) and len(text) > 60:
        text = f"[{len(value)} values]"
    return f"{name}={text}"


def read_arguments(cls: type, config: Mapping[str, Any]) -> dict[str, Any]:
    """Turn a configuration into a constructor's arguments, or name the one that cannot be one."""
    known = parameters_of(cls)
    arguments = {name: value for name, value in config.items() if name not in FOREIGN_KEYS}
    unknown = sorted(set(arguments) - set(known))
    if unknown:
        raise ValueError(
            f"{cls.__name__} has no argument {', '.join(unknown)}. "
            "Is this the configuration of another model, or of a newer version?"
        )
    return {name: read_argument(cls, name, known[name].annotation, arguments[name]) for name in arguments}


def read_argument(cls: type, name: str, annotation: Any, value: Any) -> Any:
    """Look up the class that a value names, and check any other plain value against the annotation."""
    # Callers pass classes, functions and modules as they are.
    if callable(value):
        return value
    if isinstance(value, str) and takes_class(annotation):
        if value not in cls._layer_classes():
            raise ValueError(
                f"{name}={value!r} names a class that {cls.__name__} does not know, and configurations never "
                f"import any. Known are {', '.join(sorted(cls._layer_classes()))}."
            )
        return cls._layer_classes()[value]
    check_value(f"{name} of {cls.__name__}", to_plain(value), annotation)
    check_numbers(cls, name, value)
    return value


def takes_class(annotation: Any) -> bool:
    """Whether an argument is a class, or a function that makes layers, rather than a plain value."""
    return any(get_origin(kind) in (type, Callable) for kind in (annotation, *get_args(annotation)))


def check_numbers(cls: type, name: str, value: Any) -> None:
    """Refuse numbers and lengths that no model has, before anything as large is built."""
    least, most = LEAST.get(name, 0), LARGEST.get(name, LARGEST_NUMBER)
    size = len(value) if isinstance(value, list | tuple) else value
    sizes = [size] if name in LARGEST else numbers_in(value)
    wrong = [size for size in sizes if isinstance(size, Real) and not least <= size <= most]
    if wrong:
        raise ValueError(
            f"{name} of {cls.__name__} must lie between {least} and {most:,.0f}, got {wrong[0]:,}. "
            "Correct the configuration."
        )


def numbers_in(value: Any) -> Iterator[Any]:
    """Go through a value and, if it is a list, everything inside it."""
    yield value
    for part in value if isinstance(value, list | tuple) else ():
        yield from numbers_in(part)


def check_fixed_arguments(
    cls: type, source: str, config: Mapping[str, Any], arguments: Mapping[str, Any]
) -> None:
    """Refuse arguments other than the configuration's where no shape would reveal the mistake."""
    for name in cls.layout.fixed_arguments:
        if name in config and name in arguments and to_plain(config[name]) != to_plain(arguments[name]):
            raise ValueError(
                f"The weights of {source} were trained with {describe_argument(name, config[name])}, got "
                f"{describe_argument(name, arguments[name])}: they would load, since no shape reveals it, "
                f"and compute something else. Leave {name} out; if you mean it, build the model yourself "
                "and call load_state_dict."
            )


def name_assumed(cls: type, known: Collection[str]) -> tuple[str, ...]:
    """Name the fixed arguments that nobody stated, with the defaults that are taken for them."""
    return tuple(
        describe_argument(name, default_of(cls, name))
        for name in cls.layout.fixed_arguments
        if name not in known
    )


def check_ranges(
    arguments: Mapping[str, Any],
    counts: Collection[str] = (),
    positive: Collection[str] = (),
    probabilities: Collection[str] = (),
) -> None:
    """Refuse numbers of which no model can be built; None, where an argument may be None, passes."""
    for names, is_allowed, expected in (
        (counts, lambda number: number >= 1, "must be at least 1"),
        (positive, lambda number: number > 0, "must be positive"),
        (probabilities, lambda number: 0 <= number <= 1, "is a probability between 0 and 1"),
    ):
        for name in names:
            if arguments[name] is not None and not is_allowed(arguments[name]):
                raise ValueError(f"{name} {expected}, got {arguments[name]}.")
