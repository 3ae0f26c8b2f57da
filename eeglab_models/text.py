"""Text from outside (names, labels, errors) shown as what it is. All rooms may import from here."""

import html
import unicodedata
from collections.abc import Iterable

__all__: list[str] = []

# Control characters, and those without a width, as marks of direction.
ACTING = ("Cc", "Cf")


def plain(text: object) -> str:
    """Write what would move a cursor, change colours or turn the order of letters as its code."""
    return "".join(
        ascii(letter)[1:-1] if unicodedata.category(letter) in ACTING and letter not in "\n\t" else letter
        for letter in str(text)
    )


def to_html(rows: Iterable[Iterable[str]], caption: str = "", header: Iterable[str] = ()) -> str:
    """Write rows as a table in which text is no markup; the first cell of a row names it."""

    def write(kind: str, text: str) -> str:
        return f"<{kind} style='text-align:left'>{html.escape(plain(text))}</{kind}>"

    top = f"<caption>{html.escape(plain(caption))}</caption>" if caption else ""
    lines = [[write("th", name) for name in header]] if header else []
    lines += [[write("td" if column else "th", text) for column, text in enumerate(row)] for row in rows]
    body = "".join(f"<tr>{''.join(line)}</tr>" for line in lines)
    return f"<table>{top}{body}</table>"
