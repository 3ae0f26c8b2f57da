"""Configurations hold plain values of the types that are asked for, or are refused in one sentence."""

import subprocess
import sys
from collections.abc import Mapping, Sequence
from typing import Annotated, Any, Literal

import pytest
from annotated_types import Ge, Gt
from torch import nn

from eeglab_models.configs import check_arguments, check_value, nearest, read_json, read_yaml


@pytest.fixture
def written(tmp_path):
    """Write a text to a file."""

    def write(text):
        path = tmp_path / "own.yaml"
        path.write_text(text, encoding="utf-8")
        return path

    return write


@pytest.mark.parametrize(
    ("text", "value"),
    [
        ("1e-4", 1e-4),
        ("1.5E3", 1500.0),
        (".5", 0.5),
        ("-3", -3),
        ("010", "010"),
        ("10:30:00", "10:30:00"),
        ("2020-01-01", "2020-01-01"),
        ("1_000", "1_000"),
        ("no", "no"),
        ("=", "="),
        ("true", True),
        ("'1e-4'", "1e-4"),
        ("-.inf", float("-inf")),
        ("~", None),
        ("", None),
        ("[1, {a: b}]", [1, {"a": "b"}]),
    ],
)
def test_yaml_is_read_as_people_mean_it(written, text, value):
    read = read_yaml(written(f"x: {text}"))["x"]

    assert read == value
    assert type(read) is type(value)


@pytest.mark.parametrize(
    ("text", "message"),
    [
        ("x: !!pairs [a: 1]", "line 1, column 4: the tag 'tag:yaml.org,2002:pairs' is not allowed"),
        ("x: !!python/object/apply:os.system ['exit']", "the tag .* is not allowed"),
        ("x: !!set {a}", "is not allowed"),
        ("x: !!binary aGk=", "is not allowed"),
        ("x: &a [1]\ny: [*a, *a]", "line 2, column 5: an alias .* write the value out"),
        ("x: " + "[" * 30 + "]" * 30, "more than 20 levels"),
        ("x: " + "9" * 5000, "is not YAML: Exceeds the limit"),
        ("x: " + "a" * 2**20, "has 1048579 bytes"),
        ("{[1, 2]: 3}", "a name should be text, got"),
        ("1: 2", "a name should be text, got 1; use quotes"),
        ("true: 2", "a name should be text, got true"),
        ("x: 1\nx: 2", "line 2, column 1: 'x' is there twice"),
        ("x: 1\n---\nx: 2", "another document"),
        ("[1, 2]", "should hold 'name: value' pairs, got list"),
        ("", "should hold 'name: value' pairs, got NoneType"),
    ],
)
def test_yaml_beyond_plain_values_is_refused(written, text, message):
    with pytest.raises(ValueError, match=r"own\.yaml.*" + message):
        read_yaml(written(text))


@pytest.mark.parametrize(
    ("text", "message"),
    [
        ('{"a": 1, "a": 2}', "'a' is there twice"),
        ('{"a": NaN}', "NaN is no number of JSON"),
        ("[1]", "should hold a JSON object, got list"),
        ('{"a', "is not JSON: Unterminated string .* Correct it, or remove the file"),
        ("[" * 10**5, "is not JSON"),
    ],
)
def test_json_is_an_object_of_plain_values(written, text, message):
    with pytest.raises(ValueError, match=message):
        read_json(written(text))


def test_files_that_windows_wrote_are_read(tmp_path):
    path = tmp_path / "own.yaml"
    path.write_text("x: µ", encoding="utf-8-sig")
    assert read_yaml(path) == {"x": "µ"}

    path.write_text("x: µ", encoding="latin-1")
    with pytest.raises(ValueError, match=r"own\.yaml is not text in UTF-8"):
        read_yaml(path)


@pytest.mark.parametrize(
    ("kind", "value", "checked"),
    [
        (tuple[float, float], [0.9, 1], (0.9, 1.0)),
        (Sequence[float], [1], [1.0]),
        (float, 1, 1.0),
        (
            float | Mapping[str, str | float],
            {"schedule": "linear", "end": 1},
            {"schedule": "linear", "end": 1.0},
        ),
        (Literal["a", "b"] | None, None, None),
        (dict[str, Any], {"a": (1, 2)}, {"a": [1, 2]}),
        (type[nn.Module] | list[int], [1], [1]),
    ],
)
def test_values_become_what_the_type_says(kind, value, checked):
    result = check_value("x", value, kind)

    assert result == checked
    assert type(result) is type(checked)


@pytest.mark.parametrize(
    ("kind", "value", "message"),
    [
        (int, "four", "x should be a whole number, got 'four'"),
        (int, True, "x should be a whole number, got True"),
        (int, 2.0, "x should be a whole number, got 2.0"),
        (float, True, "x should be a number, got True"),
        (bool, 1, "x should be true or false, got 1"),
        (float, float("nan"), "x should be a finite number, got nan"),
        (Annotated[int, Ge(1)], 0, "x should be greater than or equal to 1, got 0"),
        (Annotated[float, Gt(0)] | None, -1, "x should be greater than 0, got -1"),
        (tuple[float, float], [0.9, "x"], r"x\[1\] should be a number, got 'x'"),
        (float | Mapping[str, float], "fast", "x should be a number or 'name: value' pairs, got 'fast'"),
        (Literal["mean", "none"], "maen", "x should be 'mean' or 'none', got 'maen'. Did you mean 'mean'?"),
        (int, object, "x should be a whole number, got <class 'object'>"),
    ],
)
def test_values_of_other_types_are_refused(kind, value, message):
    with pytest.raises(ValueError, match=message):
        check_value("x", value, kind)


def test_arguments_are_those_of_the_function():
    def train(data, lr: float, n_steps: int = 1):
        pass

    assert check_arguments(train, {"lr": 1}, "'training'", taken=["data"]) == {"lr": 1.0}
    with pytest.raises(ValueError, match="'training' has no 'n_step'. Did you mean 'n_steps'"):
        check_arguments(train, {"n_step": 1}, "'training'", taken=["data"])
    with pytest.raises(ValueError, match="'training' needs lr, got n_steps"):
        check_arguments(train, {"n_steps": 1}, "'training'", taken=["data"])
    with pytest.raises(ValueError, match=r"What 'training' holds should be 'name: value' pairs, got \[1\]"):
        check_arguments(train, [1], "'training'")


def test_the_nearest_name_is_found_in_any_case():
    assert nearest("eegtp", ["EEGDINO", "EEGPT"]) == "EEGPT"
    assert nearest("xyz", ["EEGDINO", "EEGPT"], cutoff=0.6) == ""


def test_the_library_that_checks_is_imported_only_where_something_is_checked():
    code = "import sys, eeglab_models, eeglab_models.configs; print('pydantic' in sys.modules)"

    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True)

    assert done.stdout.strip() == "False"
