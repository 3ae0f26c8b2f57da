"""The form of every notebook, and the glossary of the course."""

import ast
import re
from contextlib import redirect_stdout
from io import StringIO
from itertools import pairwise
from pathlib import Path

import nbformat
import numpy as np
import pytest

ROOT = Path(__file__).parents[1]
NOTEBOOKS = sorted((ROOT / "notebooks").glob("*.ipynb"))
LESSONS = [path for path in NOTEBOOKS if path.stem[0].isdigit()]
GLOSSARY = ROOT / "docs" / "glossary.md"
# Lessons that are longer than the bounds of text and code allow.
LONG = {"00", "10", "20", "30", "40", "50", "60", "70", "80"}
SHORT = [path for path in LESSONS if path.stem[:2] not in LONG]


def every(paths):
    """Turn a rule for one notebook into one test that lists the notebooks that break it, and how."""

    def make(rule):
        def test():
            broken = {}
            for path in paths:
                try:
                    rule(nbformat.read(path, as_version=4), path)
                except AssertionError as error:
                    broken[path.stem] = str(error)
            assert broken == {}

        return test

    return make


def code_cells(notebook, tag=None):
    cells = [cell for cell in notebook.cells if cell.cell_type == "code"]
    return [cell for cell in cells if tag is None or tag in cell.metadata.get("tags", [])]


def texts(notebook):
    return [cell.source for cell in notebook.cells if cell.cell_type == "markdown"]


def count_points(text):
    return len(re.findall(r"^\d\. ", text, re.MULTILINE))


def test_there_are_notebooks():
    assert [path.stem for path in NOTEBOOKS] == [
        "00_quickstart",
        "05_a_network_learns",
        "10_patching",
        "15_attention_by_hand",
        "20_embeddings",
        "22_inside_fblightconvnet",
        "24_inside_eegpt",
        "26_inside_eegdino",
        "28_inside_codebrain",
        "30_pretrained_weights",
        "40_probing",
        "50_fine_tuning",
        "60_attention",
        "70_pretraining",
        "80_experiments",
        "experiment",
    ]


@every(NOTEBOOKS)
def test_parameters_are_one_cell_of_plain_constants(notebook, path):
    (cell,) = code_cells(notebook, "parameters")

    for statement in ast.parse(cell.source).body:
        assert isinstance(statement, ast.Assign)
        ast.literal_eval(statement.value)  # papermill replaces values, so nothing is computed here


@every(NOTEBOOKS)
def test_the_seed_is_a_parameter_and_is_used(notebook, path):
    (parameters,) = code_cells(notebook, "parameters")
    others = [ast.parse(cell.source) for cell in code_cells(notebook) if cell is not parameters]

    assert re.search(r"^seed = \d+ ", parameters.source, re.MULTILINE)
    assert any(getattr(node, "id", None) == "seed" for tree in others for node in ast.walk(tree))


@every(NOTEBOOKS)
def test_no_output_is_stored_and_no_cell_is_long(notebook, path):
    for cell in notebook.cells:
        # The list of parameters is as long as it is.
        is_list = "parameters" in cell.metadata.get("tags", [])
        assert is_list or len(cell.source.splitlines()) <= 30, cell.source
    for cell in code_cells(notebook):
        assert not cell.outputs
        assert cell.execution_count is None


@every(SHORT)
def test_a_text_has_sixty_words_and_a_code_cell_ten_lines_at_most(lesson, path):
    for text in texts(lesson)[1:-1]:  # other tests say what the first and the last one hold
        words = re.sub(r"\$\$.+?\$\$|<.+?>", " ", text, flags=re.DOTALL).split()
        assert len(words) <= 60, text
    for cell in code_cells(lesson)[2:]:  # behind parameters and imports
        if not {"exercise", "solutions", "self-check"} & set(cell.metadata.get("tags", [])):
            assert len(cell.source.splitlines()) <= 10, cell.source


@every(SHORT)
def test_a_lesson_has_three_exercises_and_four_questions(lesson, path):
    quiz = "\n".join(texts(lesson)).split("## Quiz\n")[1].split("## Recap")[0]

    assert len(exercises(lesson)) >= 3
    assert count_points(quiz) == quiz.count("<summary>Answer</summary>") == 4


@every(NOTEBOOKS)
def test_no_path_of_one_machine_is_named(notebook, path):
    for cell in code_cells(notebook):
        for node in ast.walk(ast.parse(cell.source)):
            if isinstance(node, ast.Constant) and isinstance(node.value, str):
                assert not re.match(r"/\w|~|\.\./|[A-Za-z]:[\\/]", node.value), node.value


@every(NOTEBOOKS)
def test_colours_of_models_come_from_the_package(notebook, path):
    for cell in code_cells(notebook):
        assert not re.search(r"[\"'](#[0-9A-Fa-f]{6}|tab:\w+)[\"']", cell.source), cell.source


@every(NOTEBOOKS)
def test_links_lead_to_files_and_lessons_are_linked_by_name(notebook, path):
    for text in texts(notebook):
        for name, target in re.findall(r"\[([^\]]+)\]\(([^)\s]+)\)", text):
            if not target.startswith("https://"):
                assert ROOT / "notebooks" / target in NOTEBOOKS
                assert name in (target, target.removesuffix(".ipynb"))
        assert not re.search(r"`\d\d_\w+", text), text


@every(LESSONS)
def test_a_lesson_opens_with_question_needs_and_goals(lesson, path):
    title, question, needs, heading, goals = lesson.cells[0].source.split("\n\n")

    assert re.fullmatch(r"# .+", title)
    assert len(re.findall(r"[.?](?=\s|$)", question)) == 2, "the question takes two sentences"
    assert re.fullmatch(r"\*\*Time\*\* \d+ minutes, .+ · \*\*Needs\*\* .+ · \*\*Data\*\* .+", needs)
    assert heading == "## You will learn"
    assert 3 <= count_points(goals) <= 5


@every(LESSONS)
def test_a_lesson_has_one_title_and_skips_no_level_of_headings(lesson, path):
    levels = [len(marks) for marks in re.findall(r"^(#+) ", "\n".join(texts(lesson)), re.MULTILINE)]

    assert levels[0] == 1
    assert min(levels[1:]) == 2
    assert all(deeper - level <= 1 for level, deeper in pairwise(levels))


@every(LESSONS)
def test_a_lesson_names_only_earlier_lessons_as_needed(lesson, path):
    needs = lesson.cells[0].source.split("**Needs**")[1].split("**Data**")[0]
    needed = re.findall(r"\((\S+)\.ipynb\)", needs)

    assert needed or path == LESSONS[0]
    assert all(name < path.stem for name in needed)


@every(LESSONS)
def test_a_recap_answers_every_goal_and_links_both_neighbours(lesson, path):
    recap = lesson.cells[-2].source
    place = LESSONS.index(path)

    assert recap.startswith("## Recap\n")
    assert count_points(recap) == count_points(lesson.cells[0].source)
    for word, others in (("Before", LESSONS[:place][-1:]), ("Next", LESSONS[place + 1 :][:1])):
        for other in others:
            assert f"{word}: [{other.stem}]({other.name})" in recap


@every(LESSONS)
def test_a_lesson_ends_with_two_to_five_references(lesson, path):
    heading, references = lesson.cells[-1].source.split("\n\n")
    lines = references.splitlines()

    assert heading == "## Further reading"
    assert 2 <= len(lines) <= 5
    for line in lines:
        assert re.fullmatch(r"- .+ \((18|19|20)\d\d\), .+\.", line), line


@every(LESSONS)
def test_claims_are_checked(lesson, path):
    assert len(code_cells(lesson, "check")) >= 2


def calls(node):
    """Names of the functions that a cell calls itself, not those within its own functions."""
    for child in ast.iter_child_nodes(node):
        if isinstance(child, ast.FunctionDef | ast.ClassDef | ast.Lambda):
            continue
        if isinstance(child, ast.Call):
            yield getattr(child.func, "attr", getattr(child.func, "id", ""))
        yield from calls(child)


def is_figure(cell):
    if cell.cell_type != "code":
        return False
    return any(re.fullmatch(r"plot_\w+|subplots|VBox", name) for name in calls(ast.parse(cell.source)))


@every(LESSONS)
def test_every_figure_has_a_caption_below_and_alternative_text(lesson, path):
    places = [place for place, cell in enumerate(lesson.cells) if is_figure(cell)]

    assert places
    for number, place in enumerate(places, start=1):
        figure, caption = lesson.cells[place : place + 2]
        assert re.match(rf"\*Figure {number}\. [^*].+?\*(\n\n|$)", caption.source, re.DOTALL), figure.source
        assert re.fullmatch(r"[A-Z].{20,150}\.", figure.metadata["mystnb"]["image"]["alt"])
    assert sum(text.startswith("*Figure") for text in texts(lesson)) == len(places), "no caption is left over"


def exercises(lesson):
    """Text, stub, solution and self-check of every exercise."""
    places = [place for place, cell in enumerate(lesson.cells) if cell in code_cells(lesson, "exercise")]
    return [lesson.cells[place - 1 : place + 3] for place in places]


@every(LESSONS)
def test_an_exercise_has_a_stub_a_hidden_solution_and_a_self_check(lesson, path):
    for number, (text, stub, solution, check) in enumerate(exercises(lesson), start=1):
        assert text.source.startswith(f"## Exercise {number}")
        assert re.fullmatch(rf"answer_{number} = \.\.\.  # .+", stub.source)
        assert solution.metadata["tags"] == ["solutions", "hide-cell"]  # the site folds the second
        assert solution.metadata["jupyter"] == {"source_hidden": True, "outputs_hidden": True}
        assert re.search(rf"^solution_{number} = ", solution.source, re.MULTILINE)
        assert check.metadata["tags"] == ["self-check"]
    n_headings = sum(text.startswith("## Exercise") for text in texts(lesson))
    assert len(exercises(lesson)) == len(code_cells(lesson, "solutions")) == n_headings >= 1


@every(LESSONS)
def test_a_self_check_asks_for_a_missing_answer_and_refuses_a_wrong_one(lesson, path):
    for number, (_, _, _, check) in enumerate(exercises(lesson), start=1):

        def try_answer(answer, number=number, source=check.source):
            with redirect_stdout(StringIO()) as said:
                exec(source, {"np": np, f"answer_{number}": answer, f"solution_{number}": 0.5})
            return said.getvalue()

        assert try_answer(...).startswith(f"answer_{number} is missing")
        assert try_answer(0.5).startswith(("right: ", "near enough: "))
        with pytest.raises(AssertionError, match=r"\w+ \w+"):
            try_answer(7.5)


def glossary():
    """The terms of the glossary in their order, each with the lesson that explains it."""
    (_, block, _) = GLOSSARY.read_text().split("```")
    entries = re.findall(r"^(\S.*)\n  .+\. \[(\w+)\]\(notebooks/\2\.ipynb\)$", block, re.MULTILINE)
    assert len(entries) == block.count("\n\n") + 1, "an entry is a term and a line that ends with its lesson"
    return entries


def test_terms_of_the_glossary_are_unique_and_sorted():
    terms = [term.casefold() for term, _ in glossary()]

    assert terms == sorted(set(terms))


def test_the_glossary_has_the_terms_that_lessons_set_in_bold():
    # Bold is for a term where it is explained, and for the first words of a paragraph, which end with a stop.
    bold = {
        (" ".join(term.split()).casefold(), path.stem)
        for path in LESSONS
        for text in texts(nbformat.read(path, as_version=4))
        for term in re.findall(r"\*\*(.+?)\*\*", text, re.DOTALL)
        if term not in ("Time", "Needs", "Data") and term[-1] not in ".?!"
    }

    # What stands in brackets tells two meanings of a word apart.
    assert {(re.sub(r" \(.+", "", term).casefold(), stem) for term, stem in glossary()} == bold
