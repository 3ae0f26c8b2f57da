"""Configurations in YAML and JSON: plain values, checked by the types of what they are for.

Nothing in a file is ever executed: it holds text, numbers, true, false, null, lists, and mappings with names,
as JSON does. All rooms may import from here.
"""

import difflib
import functools
import inspect
import json
import re
import reprlib
from collections.abc import Callable, Collection, Iterable, Iterator, Mapping
from contextlib import contextmanager
from pathlib import Path
from typing import Annotated, Any, get_type_hints

import yaml
from annotated_types import Ge, Gt, Le, Lt

from eeglab_models.files import DIGEST, hash_values

# Ranges of arguments, for annotations that `check_arguments` reads.
Count = Annotated[int, Ge(1)]
Positive = Annotated[float, Gt(0)]
NotNegative = Annotated[float, Ge(0)]
Share = Annotated[float, Ge(0), Le(1)]
BelowOne = Annotated[float, Ge(0), Lt(1)]

LARGEST = 2**20
DEEPEST = 20
# What pydantic calls otherwise than people who write files.
WORDS = {
    "bool_type": "true or false",
    "dict_type": "'name: value' pairs",
    "float_type": "a number",
    "int_type": "a whole number",
    "list_type": "a list",
    "none_required": "null",
    "string_type": "text",
    "too_long": "shorter",
    "too_short": "longer",
    "tuple_type": "a list",
}


class Loader(yaml.SafeLoader):
    """YAML 1.2 with the values of JSON: ``1e-4`` is a number, ``no``, ``10:30`` and dates are text."""

    # The readings of YAML 1.1 are many and surprise; those of the core schema follow below.
    yaml_implicit_resolvers: dict[str, list[Any]] = {}
    depth = 0

    def compose_node(self, parent: yaml.Node | None, index: Any) -> yaml.Node | None:
        """Refuse what JSON does not have: aliases, with which a line can mean gigabytes, and tags."""
        event = self.peek_event()
        problem = (
            (isinstance(event, yaml.AliasEvent) and "an alias (*) is not allowed; write the value out")
            or (getattr(event, "tag", None) and f"the tag {event.tag!r} is not allowed; leave it out")
            or (self.depth == DEEPEST and f"more than {DEEPEST} levels of lists and mappings")
        )
        if problem:
            raise yaml.MarkedYAMLError(problem=problem, problem_mark=event.start_mark)
        self.depth += 1
        node = super().compose_node(parent, index)
        self.depth -= 1
        return node

    def construct_mapping(self, node: yaml.MappingNode, deep: bool = False) -> dict[str, Any]:
        """Refuse names that are no text, and names that are written twice, of which one would be lost."""
        seen: set[str] = set()
        for key, _ in node.value:
            problem = ""
            if key.tag != "tag:yaml.org,2002:str":
                problem = f"a name should be text, got {yaml.serialize(key).splitlines()[0]}; use quotes"
            elif key.value in seen:
                problem = f"{key.value!r} is there twice"
            if problem:
                raise yaml.MarkedYAMLError(problem=problem, problem_mark=key.start_mark)
            seen.add(key.value)
        return super().construct_mapping(node, deep)


# YAML 1.2.2, section 10.3.2, the core schema; without octal and hexadecimal numbers: 010 stays text, because
# YAML 1.1 read it as 8.
for kind, pattern, letters in (
    ("null", r"~|null|Null|NULL|", "~nN\0"),
    ("bool", r"true|True|TRUE|false|False|FALSE", "tTfF"),
    ("int", r"[-+]?(?:0|[1-9][0-9]*)", "-+0123456789"),
    (
        "float",
        r"[-+]?(?:[0-9]+\.[0-9]*|\.[0-9]+|[0-9]+(?=[eE]))(?:[eE][-+]?[0-9]+)?"
        r"|[-+]?\.(?:inf|Inf|INF)|\.(?:nan|NaN|NAN)",
        "-+.0123456789",
    ),
):
    first = ["" if letter == "\0" else letter for letter in letters]
    Loader.add_implicit_resolver(f"tag:yaml.org,2002:{kind}", re.compile(f"^(?:{pattern})$"), first)


def read_yaml(path: str | Path) -> dict[str, Any]:
    """Read the 'name: value' pairs of a YAML file."""
    path = Path(path)
    if not path.is_file():
        near = nearest(path.name, [other.name for other in path.parent.glob("*.yaml")], cutoff=0.6)
        hint = f"Did you mean {path.with_name(near)}?" if near else "Check its name."
        raise FileNotFoundError(f"There is no file {path}. {hint}")
    text = read_text(path)
    try:
        # A SafeLoader underneath: plain values only.
        content = yaml.load(text, Loader)  # noqa: S506
    except yaml.MarkedYAMLError as error:
        mark = error.problem_mark
        where = f", line {mark.line + 1}, column {mark.column + 1}" if mark else ""
        raise ValueError(f"{path}{where}: {error.problem}. Correct the YAML there.") from error
    except (yaml.YAMLError, ValueError) as error:
        raise ValueError(f"{path} is not YAML: {error}") from error
    if not isinstance(content, dict):
        raise ValueError(f"{path} should hold 'name: value' pairs, got {type(content).__name__}.")
    return content


def read_json(path: str | Path) -> dict[str, Any]:
    """Read the pairs of a JSON file of the size that people write."""
    return parse_json(read_text(Path(path)), path)


def read_record(path: str | Path, kinds: Mapping[str, Any]) -> dict[str, Any]:
    """Read what the package itself wrote as JSON, of any size, and check the values of these names."""
    content = parse_json(read_text(Path(path), None), path, with_nan=True)
    # What an earlier version or a notebook of one's own wrote has none.
    if content.pop(DIGEST, None) not in (None, hash_values(content)):
        raise ValueError(
            f"{path} was altered or damaged: its values have another hash. Restore or delete it."
        )
    missing = [name for name in kinds if name not in content]
    if missing:
        raise ValueError(f"{path} should hold {' and '.join(missing)}, got {shorten(content) or 'nothing'}.")
    for name, kind in kinds.items():
        check_value(f"{name} of {path}", content[name], kind)
    return content


def parse_json(text: str, path: str | Path, with_nan: bool = False) -> dict[str, Any]:
    """Read the pairs of a JSON text; Python's words for what is no number only `with_nan`."""
    constant = None if with_nan else refuse_constant
    try:
        content = json.loads(text, object_pairs_hook=refuse_twins, parse_constant=constant)
    except (ValueError, RecursionError) as error:
        raise ValueError(f"{path} is not JSON: {error}. Correct it, or remove the file.") from error
    # Half of a pair of UTF-16 is a character in JSON, and in no file or message.
    if "\\ud" in text.lower():
        with about(path):
            json.dumps(content, ensure_ascii=False).encode()
    if not isinstance(content, dict):
        raise ValueError(f"{path} should hold a JSON object, got {type(content).__name__}. Correct it.")
    return content


def read_text(path: Path, largest: int | None = LARGEST) -> str:
    """Read a text of the size that people write; the mark that Windows puts first is left out."""
    n_bytes = path.stat().st_size
    if largest is not None and n_bytes > largest:
        raise ValueError(f"{path} has {n_bytes} bytes, more than the {largest} of a configuration.")
    try:
        return path.read_text(encoding="utf-8-sig")
    except UnicodeDecodeError as error:
        raise ValueError(f"{path} is not text in UTF-8: {error}. Save it as UTF-8.") from error


def refuse_twins(pairs: list[tuple[str, Any]]) -> dict[str, Any]:
    """Make a dictionary of pairs, unless a name comes twice."""
    content = dict(pairs)
    if len(content) < len(pairs):
        names = [name for name, _ in pairs]
        raise ValueError(f"{next(name for name in names if names.count(name) > 1)!r} is there twice")
    return content


def refuse_constant(word: str) -> None:
    """Refuse what Python's reader takes for a number, and JSON does not."""
    raise ValueError(f"{word} is no number of JSON")


@contextmanager
def about(path: str | Path) -> Iterator[None]:
    """Put the name of a file before what is wrong with its values, unless it is named there."""
    try:
        yield
    except (ValueError, FileNotFoundError) as error:
        if str(path) in str(error):
            raise
        kind = FileNotFoundError if isinstance(error, FileNotFoundError) else ValueError
        raise kind(f"{path}: {error}") from error


def shorten(names: Iterable[str], n_shown: int = 8) -> str:
    """List names in their order, the first few in full."""
    names = list(names)
    more = f" and {len(names) - n_shown} more" if len(names) > n_shown else ""
    return ", ".join(names[:n_shown]) + more


def nearest(name: str, known: Iterable[str], cutoff: float = 0.0) -> str:
    """Find the known name that is most alike, or "" if none is alike enough."""
    letters = {word.lower(): word for word in known}
    near = difflib.get_close_matches(name.lower(), letters, n=1, cutoff=cutoff)
    return letters[near[0]] if near else ""


def check_name(name: Any, known: Collection[str], what: str) -> None:
    """Refuse an unknown name, and say the nearest known one: ``what`` begins the sentence."""
    if name not in list(known):
        raise ValueError(
            f"{what} {name!r}. Did you mean {nearest(str(name), known)!r}? There are: {', '.join(known)}."
        )


def check_arguments(
    function: Callable[..., Any],
    values: Any,
    what: str,
    taken: Collection[str] = (),
    kinds: Mapping[str, Any] | None = None,
) -> dict[str, Any]:
    """Check arguments by the annotations of a function or class; `taken` are set elsewhere."""
    check_value(f"What {what} holds", values, dict)
    annotated = function.__init__ if isinstance(function, type) else function
    hints = get_type_hints(annotated, include_extras=True) | dict(kinds or {})
    known = {name: one for name, one in inspect.signature(function).parameters.items() if name not in taken}
    for name in values:
        check_name(name, known, f"{what} has no")
    missing = [name for name, one in known.items() if one.default is one.empty and name not in values]
    if missing:
        raise ValueError(f"{what} needs {' and '.join(missing)}, got {', '.join(values) or 'nothing'}.")
    return {name: check_value(f"{name} of {what}", value, hints[name]) for name, value in values.items()}


def check_value(name: str, value: Any, kind: Any) -> Any:
    """Check one value by its type: lists become tuples and 1 becomes 1.0 where it says so, nothing else."""
    from pydantic import ValidationError
    from pydantic_core import to_json

    try:
        # As JSON: only there are lists right for tuples, while 1 is never right for true.
        return adapter_for(kind).validate_json(to_json(value, fallback=plain), strict=True)
    except ValidationError as error:
        raise ValueError(explain(name, value, error.errors())) from error


def plain(value: Any) -> Any:
    """Write numbers of numpy and torch as Python's, and anything else as text that no type asks for."""
    return value.item() if getattr(value, "ndim", None) == 0 else repr(value)


@functools.cache
def adapter_for(kind: Any) -> Any:
    """Compile the check of a type; pydantic is imported only where something is checked."""
    from pydantic import ConfigDict, TypeAdapter

    return TypeAdapter(kind, config=ConfigDict(allow_inf_nan=False, arbitrary_types_allowed=True))


def explain(name: str, value: Any, problems: list[Any]) -> str:
    """Say in one sentence what a value should be."""
    if len(problems) == 1 and problems[0]["loc"]:
        name += "".join(f"[{step!r}]" for step in problems[0]["loc"])
        value = problems[0]["input"]
    expected, near = [], ""
    for problem in problems:
        words = WORDS.get(problem["type"], problem["msg"].removeprefix("Input should be "))
        if problem["type"] != "needs_python_object" and words not in expected:
            expected.append(words)
        if problem["type"] == "literal_error" and isinstance(value, str):
            known = re.findall("'([^']*)'", words)
            near = f" Did you mean {nearest(value, known)!r}?"
    return f"{name} should be {' or '.join(expected) or 'a class'}, got {reprlib.repr(value)}.{near}"
