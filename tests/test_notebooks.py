"""The form of every notebook."""

import ast
from pathlib import Path

import nbformat
import pytest

NOTEBOOKS = sorted((Path(__file__).parents[1] / "notebooks").glob("*.ipynb"))


@pytest.fixture(params=NOTEBOOKS, ids=lambda path: path.stem)
def notebook(request):
    return nbformat.read(request.param, as_version=4)


@pytest.fixture(params=[path for path in NOTEBOOKS if path.stem[0].isdigit()], ids=lambda path: path.stem)
def lesson(request):
    return nbformat.read(request.param, as_version=4)


def code_cells(notebook, tag=None):
    cells = [cell for cell in notebook.cells if cell.cell_type == "code"]
    return [cell for cell in cells if tag is None or tag in cell.metadata.get("tags", [])]


def test_there_are_notebooks():
    assert [path.stem for path in NOTEBOOKS] == [
        "00_quickstart",
        "10_patching",
        "20_embeddings",
        "30_pretrained_weights",
        "40_probing",
        "50_fine_tuning",
        "60_attention",
        "70_pretraining",
        "80_experiments",
        "experiment",
    ]


def test_parameters_are_one_cell_of_plain_constants(notebook):
    (cell,) = code_cells(notebook, "parameters")

    for statement in ast.parse(cell.source).body:
        assert isinstance(statement, ast.Assign)
        ast.literal_eval(statement.value)  # papermill replaces values, so nothing is computed here


def test_no_output_is_stored_and_no_cell_is_long(notebook):
    for cell in code_cells(notebook):
        assert not cell.outputs
        assert cell.execution_count is None
        assert cell.source.count("\n") < 30


def test_it_opens_with_goals_and_closes_with_a_recap(lesson):
    text = [cell.source for cell in lesson.cells if cell.cell_type == "markdown"]

    assert text[0].startswith("# ")
    assert all(part in text[0] for part in ("**Time**", "**Needs**", "**Data**", "## You will learn"))
    assert text[-1].startswith("## Recap")


def test_claims_are_checked_and_exercises_are_solved(lesson):
    assert len(code_cells(lesson, "check")) >= 2
    for cell in code_cells(lesson, "solution"):
        assert cell.metadata["jupyter"]["source_hidden"]


def test_no_path_of_one_machine_is_named(notebook):
    for cell in code_cells(notebook):
        assert "/home/" not in cell.source
        assert "../" not in cell.source
