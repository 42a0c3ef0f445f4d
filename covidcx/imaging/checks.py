"""Type and range checks shared by the settings of this room; each returns the value in the type it is kept in.

Settings come from JSON and from the command line as much as from code. Numbers are brought to one type so that equal
settings have an equal hash (`gamma=1` and `gamma=1.0`).
"""

from collections.abc import Iterable
from dataclasses import fields
from numbers import Integral, Real
from typing import Any

from covidcx.errors import ImageError, did_you_mean


def whole_number(name: str, value: Any, least: int) -> int:
    """Return a whole number of `least` or more; `True` and 3.0 are none.

    Raises:
        ImageError: it is something else.
    """
    if not isinstance(value, Integral) or isinstance(value, bool) or value < least:
        raise ImageError(f"{name} takes a whole number of {least} or more, received {short(value)}")
    return int(value)


def number(name: str, value: Any, low: float, high: float) -> float:
    """Return a number within `low..high`, ends included, as float.

    Raises:
        ImageError: it is something else, or not a number.
    """
    if not isinstance(value, Real) or isinstance(value, bool) or not low <= value <= high:
        raise ImageError(f"{name} takes a number within {low:g}..{high:g}, received {short(value)}")
    # Adding zero turns minus zero into zero: equal values must be written alike.
    return float(value) + 0.0


def flag(name: str, value: Any) -> bool:
    """Return True or False.

    Raises:
        ImageError: it is something else.
    """
    if not isinstance(value, bool):
        raise ImageError(f"{name} takes true or false, received {short(value)}")
    return value


def choice(name: str, value: Any, options: Iterable[str]) -> str:
    """Return one of `options`.

    Raises:
        ImageError: it is none of them.
    """
    known = tuple(options)
    if not isinstance(value, str) or value not in known:
        raise ImageError(f"unknown {name} {short(value)}.{did_you_mean(str(value), known)}")
    return value


def pair(name: str, value: Any) -> tuple[int, int]:
    """Return rows and columns, both 1 or more; a list becomes a tuple.

    Raises:
        ImageError: it is not two whole numbers.
    """
    rows, columns = sequence(name, value, "rows and columns", 2)
    return whole_number(f"{name} (rows)", rows, 1), whole_number(f"{name} (columns)", columns, 1)


def sequence(name: str, value: Any, content: str, length: int | None = None) -> tuple[Any, ...]:
    """Return a list or tuple, of one length if given and never empty, as tuple.

    Raises:
        ImageError: it is something else.
    """
    if not isinstance(value, list | tuple):
        raise ImageError(f"{name} takes a list of {content}, received {short(value)}")
    if len(value) != (length or max(len(value), 1)):
        raise ImageError(f"{name} takes {length or 'one or more'} {content}, received {len(value)}: {short(value)}")
    return tuple(value)


def known_keys(value: Any, cls: type, what: str) -> None:
    """Refuse what is no dictionary of a dataclass's settings.

    Raises:
        ImageError: no dictionary, or a key is unknown.
    """
    if not isinstance(value, dict):
        raise ImageError(f"{what} takes a table of settings, received {short(value)}")
    known = [f.name for f in fields(cls)]
    for key in value:
        if key not in known:
            raise ImageError(f"unknown {what} setting {short(key)}.{did_you_mean(str(key), known)}")


def short(value: Any) -> str:
    """Return a value as it is shown in a one-line message."""
    text = " ".join(repr(value).split())
    return text if len(text) <= 60 else text[:57] + "..."
