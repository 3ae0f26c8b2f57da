"""A grid of runs, written in YAML and checked before anything starts.

A grid has four parts, all of parameters of one notebook::

    notebook: mine.ipynb            # seen from the YAML file; if left out, notebooks/experiment.ipynb
    fixed: {n_folds: 5}             # the same in every run
    grid: {model: [EEGPT, EEGDINO], seed: [0, 1, 2]}       # every combination
    exclude: [{model: EEGPT, seed: [1, 2]}]                # runs to leave out
    include: [{model: FBLightConvNet, regime: scratch}]    # further ones, grids themselves

``subjects: each`` makes a run of every subject of the data set, ``subjects: all`` one run of all.
"""

import ast
import difflib
import itertools
import json
from collections.abc import Iterable, Mapping
from dataclasses import dataclass
from functools import cache
from pathlib import Path
from typing import Any

from eeglab_models.configs import read_yaml
from eeglab_models.experiments.runs import PACKAGE, PLACES, Run, code_version
from eeglab_models.finetuning.regimes import REGIMES
from eeglab_models.models.checkpoints import shipped_checkpoint

__all__ = ["BASELINES", "EVALUATIONS", "MODELS", "Grid", "notebook_parameters", "read_grid"]

MODELS = ("CodeBrain", "EEGDINO", "EEGPT", "FBLightConvNet")
"""Names of the models that a grid may compare."""
BASELINES = ("CSP + LDA", "tangent space + LR", "filter-bank CSP + LDA", "band power + LR")
"""Names of the baselines that a grid may compare: those of `eeglab_models.features.baselines`."""
EVALUATIONS = ("within_session", "cross_session", "cross_subject")
"""What is held out for the test: trials of a session, sessions of a subject, or subjects."""
PROBE = "probe"
CHOICES = {
    "model": (*MODELS, *BASELINES),
    "regime": (PROBE, *REGIMES),
    "evaluation": EVALUATIONS,
    "precision": ("float32", "bfloat16", "float16"),
}
EXPERIMENT = PACKAGE.parent / "notebooks" / "experiment.ipynb"
PARTS = ("notebook", "fixed", "grid", "exclude", "include")
KINDS = {bool: "true or false", int: "a whole number", float: "a number", str: "text", dict: "a mapping"}


@dataclass(frozen=True)
class Grid:
    """Runs that belong together.

    Attributes
    ----------
    name : str
        Name of the file, without its ending.
    notebook : pathlib.Path
        What every run executes.
    runs : tuple of Run
        All of them, none twice.
    """

    name: str
    notebook: Path
    runs: tuple[Run, ...]


def notebook_parameters(notebook: str | Path) -> dict[str, Any]:
    """Read the parameters of a notebook and their defaults, without running it.

    Parameters
    ----------
    notebook : str or pathlib.Path
        A notebook with one cell tagged ``parameters``, which holds constants.

    Returns
    -------
    parameters : dict
        Default by name.

    Raises
    ------
    FileNotFoundError
        If there is no such notebook.
    ValueError
        If it has no such cell, several of them, or something else than constants in it.
    """
    notebook = Path(notebook)
    if not notebook.is_file():
        raise FileNotFoundError(
            f"There is no notebook {notebook}. Name it with 'notebook:', seen from the YAML file's folder."
        )
    cells = json.loads(notebook.read_text(encoding="utf-8"))["cells"]
    tagged = [cell for cell in cells if "parameters" in cell["metadata"].get("tags", [])]
    if len(tagged) != 1:
        raise ValueError(
            f"{notebook.name} needs exactly one cell tagged 'parameters', got {len(tagged)}. Without the tag "
            "papermill would set parameters that the notebook then overwrites."
        )
    parameters = {}
    for statement in ast.parse("".join(tagged[0]["source"])).body:
        try:
            (target,) = statement.targets
            parameters[target.id] = ast.literal_eval(statement.value)
        except (AttributeError, ValueError) as error:
            raise ValueError(
                f"The cell 'parameters' of {notebook.name} may hold only 'name = constant', got "
                f"{ast.unparse(statement)!r}."
            ) from error
    return parameters


def read_grid(path: str | Path) -> Grid:
    """Read a grid and check all of it.

    Parameters
    ----------
    path : str or pathlib.Path
        YAML file, as described at the top of this module.

    Returns
    -------
    grid : Grid
        Its runs, each with all parameters.

    Raises
    ------
    FileNotFoundError
        If the file, its notebook or a checkpoint is missing.
    ValueError
        If a key, a parameter, a model, a data set, a subject or another value is unknown or of a wrong type;
        the message names the nearest right word.
    """
    path = Path(path)
    content = read_yaml(path)
    for part in content:
        check_name(str(part), PARTS, "A grid has no part")
    notebook = (path.parent / content.get("notebook", EXPERIMENT)).resolve()
    defaults = notebook_parameters(notebook)
    if "output_folder" not in defaults:
        raise ValueError(
            f"{notebook.name} needs a parameter output_folder, in which it writes its row of results."
        )
    places = tuple(name for name in PLACES if name in defaults)
    defaults = {name: value for name, value in defaults.items() if name not in places}
    fixed = read_values(content.get("fixed") or {}, defaults, "fixed")
    blocks = [content.get("grid") or {}, *read_blocks(content, "include")]
    if not any(blocks):
        raise ValueError(f"{path} has no runs: it needs a part 'grid' or 'include' with parameters.")
    excluded = [read_lists(entry, defaults) for entry in read_blocks(content, "exclude")]
    settings = []
    for block in filter(None, blocks):
        for choice in expand(read_lists(block, defaults)):
            settings += expand_subjects(defaults | fixed | choice)
    unique = {json.dumps(setting, sort_keys=True): setting for setting in exclude(settings, excluded)}
    if not unique:
        raise ValueError(f"{path} leaves no run: 'exclude' takes all of them away.")
    for setting in unique.values():
        check_setting(setting)
    version = code_version(notebook)
    runs = (Run(notebook, setting, version, places) for setting in unique.values())
    return Grid(path.stem, notebook, tuple(runs))


def read_blocks(content: Mapping[str, Any], part: str) -> list[dict[str, Any]]:
    """Take a part that is a list of mappings."""
    blocks = content.get(part) or []
    if not isinstance(blocks, list) or not all(isinstance(block, dict) and block for block in blocks):
        raise ValueError(f"'{part}' should be a list of mappings, each '- {{name: value}}', got {blocks!r}.")
    return blocks


def read_values(values: Any, defaults: Mapping[str, Any], part: str) -> dict[str, Any]:
    """Check names and types of one value per parameter."""
    if not isinstance(values, dict):
        raise ValueError(f"'{part}' should hold 'name: value' pairs, got {values!r}.")
    for name in values:
        check_parameter(name, defaults)
    return {name: coerce(name, value, defaults[name]) for name, value in values.items()}


def read_lists(values: Any, defaults: Mapping[str, Any]) -> dict[str, list[Any]]:
    """Check names and types of lists of values; a single value is a list of one."""
    if not isinstance(values, dict):
        raise ValueError(f"'grid' should hold 'name: [value, value]' pairs, got {values!r}.")
    for name in values:
        check_parameter(name, defaults)
    lists = {name: value if isinstance(value, list) else [value] for name, value in values.items()}
    for name, items in lists.items():
        if not items:
            raise ValueError(f"{name} has no values in the grid. Name at least one, or leave {name} out.")
    return {name: [coerce(name, item, defaults[name]) for item in items] for name, items in lists.items()}


def check_parameter(name: Any, defaults: Mapping[str, Any]) -> None:
    """Refuse a parameter that the notebook does not have; papermill would only warn."""
    if name in PLACES:
        raise ValueError(f"{name} is set by the sweep for every run. Leave it out.")
    check_name(str(name), defaults, "The notebook has no parameter")


def check_name(name: str, known: Iterable[str], what: str) -> None:
    """Refuse an unknown word and say the nearest known one."""
    known = list(known)
    if name not in known:
        letters = {word.lower(): word for word in known}
        near = difflib.get_close_matches(name.lower(), letters, n=1, cutoff=0.0)
        raise ValueError(
            f"{what} {name!r}. Did you mean {letters[near[0]]!r}? There are: {', '.join(known)}."
        )


def coerce(name: str, value: Any, default: Any) -> Any:
    """Bring a value to the type of the notebook's default, where nothing is lost by it."""
    kind = type(default)
    if default is None or (name == "subjects" and value in ("each", "all")):
        return value
    if kind is list:
        items = value if isinstance(value, list) else [value]
        return [coerce(name, item, default[0]) for item in items] if default else items
    if kind is float and type(value) is int:
        return float(value)
    if type(value) is not kind:
        raise ValueError(
            f"{name} should be {KINDS.get(kind, kind.__name__)}, as {default!r} in the notebook, got "
            f"{value!r}."
        )
    return value


def expand(lists: Mapping[str, list[Any]]) -> list[dict[str, Any]]:
    """Combine every value of every parameter."""
    return [dict(zip(lists, values, strict=True)) for values in itertools.product(*lists.values())]


def expand_subjects(setting: dict[str, Any]) -> list[dict[str, Any]]:
    """Write out ``each`` and ``all`` subjects of the data set."""
    if setting.get("subjects") not in ("each", "all"):
        return [setting]
    subjects = list(subjects_and_events(setting["dataset"])[0])
    groups = [subjects] if setting["subjects"] == "all" else [[subject] for subject in subjects]
    return [setting | {"subjects": group} for group in groups]


def exclude(settings: list[dict[str, Any]], excluded: list[dict[str, Any]]) -> list[dict[str, Any]]:
    """Leave out the runs that fit all values of one of the entries."""
    for entry in excluded:
        kept = [
            setting
            for setting in settings
            if not all(setting[name] in values for name, values in entry.items())
        ]
        if len(kept) == len(settings):
            raise ValueError(f"The exclude {entry} fits no run of the grid. Correct it, or leave it out.")
        settings = kept
    return settings


def check_setting(setting: Mapping[str, Any]) -> None:
    """Refuse a run that cannot work, by what its words mean."""
    for name, known in CHOICES.items():
        if name in setting:
            check_name(setting[name], known, f"There is no {name}")
    if setting.get("model") in BASELINES and setting.get("regime", PROBE) != PROBE:
        raise ValueError(
            f"{setting['model']} knows only the regime 'probe', got {setting['regime']!r}. Put "
            f"'exclude: [{{model: {setting['model']}, regime: {setting['regime']}}}]' into the grid."
        )
    checkpoint = setting.get("checkpoint", "")
    if checkpoint and "/" not in checkpoint:
        shipped_checkpoint(checkpoint)
    if "dataset" not in setting:
        return
    subjects, events = subjects_and_events(setting["dataset"])
    for name, known in (("subjects", subjects), ("events", events)):
        unknown = [value for value in setting.get(name) or [] if value not in known]
        if unknown:
            near = difflib.get_close_matches(str(unknown[0]), map(str, known), n=1, cutoff=0.0)[0]
            raise ValueError(
                f"{setting['dataset']} has no {name} {', '.join(map(str, unknown))}; the nearest is {near}."
            )
    if setting.get("evaluation") == "cross_subject" and len(setting.get("subjects", [])) == 1:
        raise ValueError(
            f"cross_subject needs two subjects or more, got {setting['subjects']}. Write 'subjects: all', or "
            "a list of lists."
        )


@cache
def subjects_and_events(name: str) -> tuple[tuple[int, ...], tuple[str, ...]]:
    """Look up what a data set has."""
    from eeglab_models.signals.recordings import find_dataset

    dataset = find_dataset(name)
    return tuple(dataset.subject_list), tuple(dataset.event_id)
