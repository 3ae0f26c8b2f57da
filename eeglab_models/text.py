"""Text from outside (names, labels, errors) shown as what it is. All rooms may import from here."""

import unicodedata

__all__: list[str] = []

# Control characters, and those without a width, as marks of direction.
ACTING = ("Cc", "Cf")


def plain(text: object) -> str:
    """Write what would move a cursor, change colours or turn the order of letters as its code."""
    return "".join(
        ascii(letter)[1:-1] if unicodedata.category(letter) in ACTING and letter not in "\n\t" else letter
        for letter in str(text)
    )
