"""Configurations in YAML: plain values, of which nothing is ever executed."""

import difflib
import re
from pathlib import Path
from typing import Any

import yaml

__all__ = ["read_yaml"]


class Loader(yaml.SafeLoader):
    """YAML as people mean it: ``1e-4`` is a number, ``10:30:00`` and ``no`` are text, no key comes twice."""

    # A copy without the readings of YAML 1.1 that surprise; those of YAML 1.2 follow below.
    yaml_implicit_resolvers = {
        letter: [pair for pair in pairs if pair[0].rpartition(":")[2] not in ("bool", "float", "int")]
        for letter, pairs in yaml.SafeLoader.yaml_implicit_resolvers.items()
    }

    def construct_mapping(self, node: yaml.MappingNode, deep: bool = False) -> dict[Any, Any]:
        """Refuse a key that is written twice, of which the first would be lost."""
        seen = set()
        for key, _ in node.value:
            if key.value in seen:
                raise yaml.MarkedYAMLError(
                    problem=f"{key.value!r} is there twice", problem_mark=key.start_mark
                )
            seen.add(key.value)
        return super().construct_mapping(node, deep)


Loader.add_implicit_resolver(
    "tag:yaml.org,2002:bool", re.compile(r"^(?:true|false|True|False)$"), list("tfTF")
)
Loader.add_implicit_resolver(
    "tag:yaml.org,2002:int", re.compile(r"^[-+]?(?:0|[1-9][0-9]*)$"), list("-+0123456789")
)
Loader.add_implicit_resolver(
    "tag:yaml.org,2002:float",
    re.compile(r"^[-+]?(?:[0-9]+\.[0-9]*|\.[0-9]+|[0-9]+(?=[eE]))(?:[eE][-+]?[0-9]+)?$|^[-+]?\.(?:inf|nan)$"),
    list("-+.0123456789"),
)


def read_yaml(path: str | Path) -> dict[str, Any]:
    """Read a mapping from a YAML file; nothing in it is ever executed.

    Parameters
    ----------
    path : str or pathlib.Path
        The file.

    Returns
    -------
    content : dict
        What it says.

    Raises
    ------
    FileNotFoundError
        If there is no such file.
    ValueError
        If it is not YAML, or no mapping.
    """
    path = Path(path)
    if not path.is_file():
        near = difflib.get_close_matches(path.name, [other.name for other in path.parent.glob("*.yaml")], n=1)
        hint = f"Did you mean {path.with_name(near[0])}?" if near else "Check its name."
        raise FileNotFoundError(f"There is no file {path}. {hint}")
    try:
        # A SafeLoader underneath: plain values only.
        content = yaml.load(path.read_text(encoding="utf-8"), Loader)  # noqa: S506
    except yaml.MarkedYAMLError as error:
        mark = error.problem_mark
        where = f", line {mark.line + 1}, column {mark.column + 1}" if mark else ""
        raise ValueError(f"{path}{where}: {error.problem}. Correct the YAML there.") from error
    except yaml.YAMLError as error:
        raise ValueError(f"{path} is not YAML: {error}") from error
    if not isinstance(content, dict):
        raise ValueError(f"{path} should hold 'name: value' pairs, got {type(content).__name__}.")
    return content
