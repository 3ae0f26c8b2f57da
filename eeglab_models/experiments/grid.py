"""A grid of runs, written in YAML and checked before anything starts.

A grid has four parts, all of parameters of one notebook::

    notebook: mine.ipynb            # seen from the YAML file; if left out, notebooks/experiment.ipynb
    fixed: {n_folds: 5}             # the same in every run
    grid: {model: [EEGPT, EEGDINO], seed: [0, 1, 2]}       # every combination
    exclude: [{model: EEGPT, seed: [1, 2]}]                # runs to leave out
    include: [{model: FBLightConvNet, regime: scratch}]    # further ones, grids themselves

``subjects: each`` makes a run of every subject of the data set, ``subjects: all`` one run of all. ``dataset``
may be a file, a folder or the root of a BIDS data set, and ``table`` what its recordings are labelled with;
both are seen from the YAML file. A folder that is called like a data set is written ``./NAME``.
"""

import ast
import itertools
import json
from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from functools import cache
from pathlib import Path
from typing import Annotated, Any, Literal

from annotated_types import Ge, Gt

from eeglab_models.configs import (
    about,
    check_arguments,
    check_name,
    check_value,
    nearest,
    read_yaml,
)
from eeglab_models.experiments.runs import PLACES, Run
from eeglab_models.experiments.study import OF_CLASSES, OF_VALUES, STUDY, check_study
from eeglab_models.experiments.versions import PACKAGE, code_version, read_cells

__all__ = ["BASELINES", "check_setting", "read_grid"]

BASELINES = (*OF_CLASSES, *OF_VALUES)
"""Names of the baselines that a grid may compare: those of `eeglab_models.features.baselines`."""
PROBE = "probe"
# Wherever a notebook has a parameter of this name, it means this.
KINDS = {
    "evaluation": Literal["within_session", "cross_session", "cross_subject"],
    "precision": Literal["float32", "bfloat16", "float16"],
    "lr": Annotated[float, Gt(0)] | None,
    "max_epochs": Annotated[int, Ge(1)],
    "max_windows": Annotated[int, Ge(0)],
    "n_folds": Annotated[int, Ge(1)],
    "subjects": list[int | str],
    "seed": Annotated[int, Ge(0)],
    "tmax": float | None,
}
# Parameters that may name files, seen from the folder of the YAML file.
FILES = ("dataset", "table")
EXPERIMENT = PACKAGE.parent / "notebooks" / "experiment.ipynb"
# Beyond this a list of runs would fill the memory, and a life.
MOST_RUNS = 100_000


def kind_of(name: str, otherwise: Any, in_study: bool) -> Any:
    """Say what a parameter means; models are those that are imported."""
    if name == "model":
        from eeglab_models.models.base import known_models

        return Literal[*known_models(), *BASELINES]
    if name == "regime":
        from eeglab_models.finetuning.regimes import REGIMES

        return Literal[PROBE, *REGIMES]
    if name == "metric":
        from eeglab_models.scores.metrics import METRICS

        return Literal[*METRICS]
    return (KINDS | STUDY if in_study else KINDS).get(name, otherwise)


@dataclass(frozen=True)
class Grid:
    """Runs that belong together, none twice, by the name of their file without its ending."""

    name: str
    notebook: Path
    runs: tuple[Run, ...]


def notebook_parameters(notebook: str | Path) -> dict[str, Any]:
    """Read the parameters of a notebook and their defaults, without running it."""
    notebook = Path(notebook)
    if not notebook.is_file():
        raise FileNotFoundError(
            f"There is no notebook {notebook}. Name it with 'notebook:', seen from the YAML file's folder."
        )
    cells = read_cells(notebook)
    tagged = [cell for cell in cells if "parameters" in cell["metadata"].get("tags", [])]
    if len(tagged) != 1:
        raise ValueError(
            f"{notebook.name} needs exactly one cell tagged 'parameters', got {len(tagged)}. Without the tag "
            "papermill would set parameters that the notebook then overwrites."
        )
    parameters = {}
    try:
        statements = ast.parse("".join(tagged[0]["source"])).body
    except (SyntaxError, ValueError, RecursionError, MemoryError) as error:
        raise ValueError(f"The cell 'parameters' of {notebook} is no Python: {error}. Correct it.") from error
    for statement in statements:
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
    content = {part: value for part, value in read_yaml(path).items() if value is not None}
    with about(path):
        return plan(path, **check_arguments(plan, content, "the grid file", ["path"]))


def plan(
    path: Path,
    notebook: str = str(EXPERIMENT),
    fixed: dict[str, Any] | None = None,
    grid: dict[str, Any] | None = None,
    exclude: list[dict[str, Any]] | None = None,
    include: list[dict[str, Any]] | None = None,
) -> Grid:
    """Make the runs that the parts of a grid mean."""
    source = (path.parent / notebook).resolve()
    subjects_and_events.cache_clear()  # files may have changed
    blocks, exclude = [locate(block, path.parent) for block in (fixed, grid, *(include or []))], exclude or []
    fixed, *varied = blocks
    defaults = notebook_parameters(source)
    if "output_folder" not in defaults:
        raise ValueError(
            f"{source.name} needs a parameter output_folder, in which it writes its row of results."
        )
    places = tuple(name for name in PLACES if name in defaults)
    defaults = {name: value for name, value in defaults.items() if name not in places}
    check_parameters(fixed, defaults)
    base = defaults | {name: read_value(name, value, defaults) for name, value in fixed.items()}
    check_kinds(base)
    blocks = [read_lists(block, defaults) for block in varied if block]
    settings = list(itertools.islice(expand(blocks, base), MOST_RUNS + 1))
    if not settings:
        raise ValueError("The grid has no runs: it needs a part 'grid' or 'include' with parameters.")
    if len(settings) > MOST_RUNS:
        raise ValueError(f"The grid has more than {MOST_RUNS:,} runs. Name fewer values, or part it.")
    for entry in exclude:
        settings = leave_out(settings, read_lists(locate(entry, path.parent), defaults))
    unique = {json.dumps(setting, sort_keys=True): setting for setting in settings}
    if not unique:
        raise ValueError("The grid leaves no run: 'exclude' takes all of them away.")
    for setting in unique.values():
        check_together(setting)
    version = code_version(source)
    return Grid(path.stem, source, tuple(Run(source, one, version, places) for one in unique.values()))


def locate(values: Mapping[str, Any] | None, folder: Path) -> dict[str, Any]:
    """Find files that parameters name, seen from a folder; other values stay."""

    def whole(value: Any) -> Any:
        if isinstance(value, list):
            return [whole(item) for item in value]
        if not isinstance(value, str) or not value or not (folder / value).exists():
            return value
        if Path(value).name == value:
            from eeglab_models.signals.sources import datasets_by_name

            # A folder that is called like a data set is written ./NAME.
            if value in datasets_by_name():
                return value
        return str((folder / value).resolve())

    return {name: whole(value) if name in FILES else value for name, value in (values or {}).items()}


def check_parameters(values: Mapping[str, Any], defaults: Mapping[str, Any]) -> None:
    """Refuse parameters that the notebook does not have; papermill would only warn."""
    for name in values:
        if name in PLACES:
            raise ValueError(f"{name} is set by the sweep for every run. Leave it out.")
        check_name(name, defaults, "The notebook has no parameter")


def read_lists(values: Mapping[str, Any], defaults: Mapping[str, Any]) -> dict[str, list[Any]]:
    """Check lists of values; a single value is a list of one."""
    check_parameters(values, defaults)
    lists = {name: value if isinstance(value, list) else [value] for name, value in values.items()}
    for name, items in lists.items():
        if not items:
            raise ValueError(f"{name} has no values in the grid. Name at least one, or leave {name} out.")
    return {name: [read_value(name, item, defaults) for item in items] for name, items in lists.items()}


def read_value(name: str, value: Any, defaults: Mapping[str, Any]) -> Any:
    """Check a value by the type of the notebook's default; a parameter that is a list takes a single one."""
    default = defaults[name]
    if name == "subjects" and "dataset" in defaults and value in ("each", "all"):
        return value
    if name == "checkpoint" and isinstance(value, dict):
        return check_value(name, value, dict[kind_of("model", str, False), str])
    kind = type(default[0]) if isinstance(default, list) and default else Any
    kind = list[kind] if isinstance(default, list) else Any if default is None else type(default)
    kind = kind_of(name, kind, "metric" in defaults)
    if isinstance(default, list) and value is not None:
        value = value if isinstance(value, list) else [value]
    return check_value(name, value, kind)


def expand(blocks: list[dict[str, list[Any]]], base: dict[str, Any]) -> Iterator[dict[str, Any]]:
    """Combine every value of every parameter, and write out ``each`` and ``all`` subjects of the data set."""
    for lists in blocks:
        for values in itertools.product(*lists.values()):
            setting = base | dict(zip(lists, values, strict=True))
            if isinstance(setting.get("checkpoint"), dict):
                # Weights of each model; those without a name start from random ones.
                setting["checkpoint"] = setting["checkpoint"].get(setting.get("model"), "")
            if setting.get("subjects") not in ("each", "all"):
                yield setting
                continue
            subjects, _ = subjects_and_events(setting["dataset"], setting.get("table", ""))
            alone = setting["subjects"] == "each" and subjects
            groups = [[subject] for subject in subjects] if alone else [list(subjects)]
            yield from (setting | {"subjects": group} for group in groups)


def leave_out(settings: list[dict[str, Any]], entry: Mapping[str, list[Any]]) -> list[dict[str, Any]]:
    """Leave out the runs that fit all values of an entry of ``exclude``."""
    kept = [
        setting for setting in settings if not all(setting[name] in values for name, values in entry.items())
    ]
    if len(kept) == len(settings):
        raise ValueError(f"The exclude {entry} fits no run of the grid. Correct it, or leave it out.")
    return kept


def check_setting(setting: Mapping[str, Any]) -> None:
    """Refuse a run that cannot work, by what its words mean.

    Parameters
    ----------
    setting : mapping
        Parameters of one run.

    Raises
    ------
    ValueError
        If a value is none that the parameter can have, or if two of them do not fit.
    """
    check_kinds(setting)
    check_together(setting)


def check_kinds(setting: Mapping[str, Any]) -> None:
    """Refuse values that their parameters cannot have."""
    for name, value in setting.items():
        if name == "subjects" and value in ("each", "all"):
            continue
        check_value(name, value, kind_of(name, Any, "metric" in setting))


def check_together(setting: Mapping[str, Any]) -> None:
    """Refuse values that do not fit each other, the data or the checkpoints."""
    if setting.get("model") in BASELINES and setting.get("regime", PROBE) != PROBE:
        raise ValueError(
            f"{setting['model']} knows only the regime 'probe', got {setting['regime']!r}. Put "
            f"'exclude: [{{model: {setting['model']}, regime: {setting['regime']}}}]' into the grid."
        )
    if "metric" in setting:
        check_study(setting)
    checkpoint = setting.get("checkpoint", "")
    if checkpoint and "/" not in checkpoint:
        from eeglab_models.models.checkpoints import shipped_checkpoint

        shipped_checkpoint(checkpoint)
    if "dataset" not in setting:
        return
    from eeglab_models.signals.sources import spell_subject

    subjects, events = subjects_and_events(setting["dataset"], setting.get("table", ""))
    for name, known in (("subjects", subjects), ("test_subjects", subjects), ("events", events)):
        spelt = set(map(spell_subject, known))
        unknown = [value for value in setting.get(name) or [] if spell_subject(value) not in spelt]
        if unknown and not known:
            raise ValueError(
                f"{setting['dataset']} tells no {name}, got {setting[name]}. Write '{name}: []'."
            )
        if unknown:
            near = nearest(str(unknown[0]), map(str, known))
            raise ValueError(
                f"{setting['dataset']} has no {name} {', '.join(map(str, unknown))}; the nearest is {near}."
            )
    if setting.get("evaluation") == "cross_subject" and len(setting.get("subjects") or subjects) < 2:
        raise ValueError(
            f"cross_subject needs two subjects or more, got {setting['subjects']}. Write 'subjects: all', or "
            "a list of lists."
        )


@cache
def subjects_and_events(name: str, table: str = "") -> tuple[tuple[Any, ...], tuple[str, ...]]:
    """Look up what a data set or files have."""
    from eeglab_models.signals.sources import describe_source

    subjects, events = describe_source(name, table or None)
    return tuple(subjects), tuple(events)
