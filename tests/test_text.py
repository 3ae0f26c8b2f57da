"""Text from outside is shown, and does nothing."""

import re

import pytest
import typer
from typer.testing import CliRunner

from eeglab_models.__main__ import ends_in_a_sentence, open_console
from eeglab_models.text import plain, to_html

HOSTILE = "\x1b[2J\x1b]0;title\x07[red]a[/x]\r\x9b31m\u202e$"


def test_control_characters_are_written_as_their_codes():
    assert plain(HOSTILE) == r"\x1b[2J\x1b]0;title\x07[red]a[/x]\r\x9b31m\u202e$"


@pytest.mark.parametrize("text", ["Zoë: 5 µV, 脑电, Ωμέγα", "two\nlines\tand a tab", ""])
def test_ordinary_text_stays(text):
    assert plain(text) == text


def test_a_console_prints_what_it_is_given_in_lines_and_tables():
    from rich.table import Table

    console = open_console()
    table = Table("name", title="t")
    table.add_row(HOSTILE)
    with console.capture() as captured:
        console.print(HOSTILE)
        console.print(table)

    assert captured.get().count(plain(HOSTILE)) == 2
    assert not {"\x1b", "\x07", "\x9b", "\r", "\u202e"} & set(captured.get())


def test_errors_of_commands_are_plain_text():
    app = typer.Typer()

    @app.command()
    @ends_in_a_sentence
    def fail():
        raise ValueError(f"tensor {HOSTILE}")

    result = CliRunner().invoke(app)

    assert result.exit_code == 1
    assert f"tensor {plain(HOSTILE)}" in result.output
    assert "\x1b" not in result.output


def test_a_table_of_html_shows_text_and_runs_nothing():
    table = to_html([("<b>", f"<script>{HOSTILE}")], "<i>a", ("&",))

    assert "&lt;b&gt;" in table
    assert f"&lt;script&gt;{plain(HOSTILE)}" in table
    assert not re.findall("<[bi]>|<script>|>&<|\x1b", table)


def test_a_dollar_in_a_figure_begins_no_formula(tmp_path):
    from eeglab_models.plotting.style import open_axes

    figure, ax = open_axes((2, 2))
    names = [r"$\frac{$", r"$a$", "_{"]
    ax.set(title=names[0], xlabel=names[1], xticks=[0, 1], xticklabels=names[1:])
    ax.plot([0, 1], label=names[0])
    ax.legend()

    figure.savefig(tmp_path / "figure.png", bbox_inches="tight")
