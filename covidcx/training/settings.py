"""Frozen dataclasses as settings: to JSON and back, and `key=value` strings parsed by each field's type."""

import hashlib
import json
import types
import typing
from collections.abc import Mapping
from dataclasses import asdict, is_dataclass
from typing import Any, Literal, Self, TypeVar

from covidcx.errors import CovidcxError, RecipeError, did_you_mean

T = TypeVar("T")

_TRUE, _FALSE, _NONE = ("true", "yes", "on", "1"), ("false", "no", "off", "0"), ("none", "null")


class Settings:
    """What a frozen dataclass of settings can do besides: be named by its content, become JSON and come back."""

    @property
    def hash(self) -> str:
        """Twelve hexadecimal digits that name this value."""
        return hashlib.sha256(json.dumps(self.to_dict(), sort_keys=True).encode()).hexdigest()[:12]

    def to_dict(self) -> dict[str, Any]:
        """Return the value as a JSON-ready dictionary; `from_dict` undoes it."""
        return to_plain(self)

    @classmethod
    def from_dict(cls, value: dict[str, Any]) -> Self:
        """Build the value from `to_dict`'s dictionary.

        Raises:
            RecipeError: a key is unknown or a type is wrong.
        """
        return from_plain(cls, value)


def to_plain(value: Any) -> dict[str, Any]:
    """Return a dataclass value as a JSON-ready dictionary.

    Args:
        value: a dataclass instance whose leaves JSON knows.

    Returns:
        Nested dictionary; tuples have become lists.
    """
    return json.loads(json.dumps(asdict(value)))


def from_plain(cls: type[T], value: Any, where: str = "") -> T:
    """Build a dataclass value from `to_plain`'s dictionary and check every type.

    Args:
        cls: the dataclass.
        value: nested dictionary.
        where: dotted key of this value, for error messages.

    Returns:
        The dataclass value.

    Raises:
        RecipeError: a key is unknown, a type is wrong or the value itself refuses a setting.
    """
    if not isinstance(value, Mapping):
        raise _wrong(where, "a table of settings", value)
    hints = typing.get_type_hints(cls)
    for key in value:
        if key not in hints:
            raise RecipeError(f"unknown setting {_join(where, str(key))!r}.{did_you_mean(str(key), hints)}")
    settings = {key: _decode(hints[key], item, _join(where, key)) for key, item in value.items()}
    try:
        return cls(**settings)
    except RecipeError:
        raise
    except (CovidcxError, TypeError) as error:
        raise RecipeError(f"{where or cls.__name__}: {error}") from error


def apply_overrides(value: T, overrides: Mapping[str, str]) -> T:
    """Return a copy of a dataclass value with some settings replaced.

    Args:
        value: a dataclass instance.
        overrides: dotted key to text, e.g. `{"optimizer.learning_rate": "3e-4", "labels": "normal,covid"}`. `none`
            empties an optional setting, tuples are written with commas, dictionaries as JSON.

    Returns:
        The new value.

    Raises:
        RecipeError: a key is unknown or a text does not fit the setting's type.
    """
    plain = to_plain(value)
    for key, text in overrides.items():
        _set(type(value), plain, key.split("."), str(text), key)
    return from_plain(type(value), plain)


def parse(hint: Any, text: str, key: str) -> Any:
    """Read one setting's text by its type.

    Args:
        hint: type annotation of the setting.
        text: what was written after the equals sign.
        key: name of the setting, for error messages.

    Returns:
        The value.

    Raises:
        RecipeError: the text does not fit.
    """
    inner, optional = _optional(hint)
    text = text.strip()
    if optional and text.lower() in _NONE:
        return None
    origin = typing.get_origin(inner)
    if origin is tuple:
        items = [part.strip() for part in text.strip("()[] ").split(",")]
        items = [part.strip("'\"") for part in items if part]
        return [parse(kind, item, key) for kind, item in zip(_tuple_types(inner, items, key), items, strict=True)]
    if inner is bool:
        if text.lower() in _TRUE + _FALSE:
            return text.lower() in _TRUE
        raise _wrong(key, "true or false", text)
    if inner in (int, float):
        try:
            return inner(text)
        except ValueError:
            raise _wrong(key, "a whole number" if inner is int else "a number", text) from None
    if inner is str:
        return text
    if origin is Literal:
        return _choice(inner, text, key)
    try:
        return json.loads(text)
    except json.JSONDecodeError:
        if inner is Any:
            return text
        raise _wrong(key, 'JSON such as {"name": "value"}', text) from None


def differences(old: Any, new: Any, where: str = "") -> list[str]:
    """List where two plain values differ.

    Args:
        old: from `to_plain`.
        new: from `to_plain`.
        where: dotted key of this value.

    Returns:
        One text such as `epochs: 3 there, 5 now` per differing setting.
    """
    if isinstance(old, dict) and isinstance(new, dict):
        keys = [*old, *(key for key in new if key not in old)]
        return [
            line
            for key in keys
            for line in differences(old.get(key, "(absent)"), new.get(key, "(absent)"), _join(where, key))
        ]
    return [] if old == new else [f"{where}: {_short(old)} there, {_short(new)} now"]


def _set(cls: type, plain: dict[str, Any], path: list[str], text: str, key: str) -> None:
    hints = typing.get_type_hints(cls)
    name = path[0]
    if name not in hints:
        raise RecipeError(f"unknown setting {key!r}.{did_you_mean(name, hints)}")
    inner, _ = _optional(hints[name])
    if len(path) == 1:
        plain[name] = parse(hints[name], text, key)
        return
    if is_dataclass(inner):
        # A table that was none starts from its defaults.
        plain[name] = plain[name] or {}
        _set(inner, plain[name], path[1:], text, key)
    elif typing.get_origin(inner) is dict and len(path) == 2:
        plain[name][path[1]] = parse(typing.get_args(inner)[1], text, key)
    else:
        raise RecipeError(f"setting {'.'.join(key.split('.')[: -len(path) + 1])!r} has no parts, received {key!r}")


def _decode(hint: Any, value: Any, where: str) -> Any:
    inner, optional = _optional(hint)
    if value is None and optional:
        return None
    origin = typing.get_origin(inner)
    if inner is Any:
        return value
    if is_dataclass(inner):
        return value if isinstance(value, inner) else from_plain(inner, value, where)
    if origin is tuple:
        if not isinstance(value, list | tuple):
            raise _wrong(where, "a list", value)
        return tuple(_decode(kind, v, where) for kind, v in zip(_tuple_types(inner, value, where), value, strict=True))
    if origin is dict:
        if not isinstance(value, Mapping):
            raise _wrong(where, "a table", value)
        kind = typing.get_args(inner)[1]
        return {str(key): _decode(kind, item, _join(where, str(key))) for key, item in value.items()}
    if origin is Literal:
        return _choice(inner, value, where)
    if inner is float and isinstance(value, int) and not isinstance(value, bool):
        return float(value)
    if not isinstance(value, inner) or (inner is int and isinstance(value, bool)):
        raise _wrong(where, inner.__name__, value)
    return value


def _choice(hint: Any, value: Any, key: str) -> Any:
    choices = typing.get_args(hint)
    if value not in choices:
        raise RecipeError(f"setting {key!r} cannot be {value!r}.{did_you_mean(str(value), map(str, choices))}")
    return value


def _tuple_types(hint: Any, items: Any, key: str) -> list[Any]:
    kinds = typing.get_args(hint)
    if len(kinds) == 2 and kinds[1] is Ellipsis:
        return [kinds[0]] * len(items)
    if len(items) != len(kinds):
        raise _wrong(key, f"{len(kinds)} values", items)
    return list(kinds)


def _optional(hint: Any) -> tuple[Any, bool]:
    if typing.get_origin(hint) in (typing.Union, types.UnionType):
        kinds = [kind for kind in typing.get_args(hint) if kind is not type(None)]
        if len(kinds) == 1:
            return kinds[0], True
    return hint, False


def _wrong(key: str, wanted: str, received: Any) -> RecipeError:
    return RecipeError(f"setting {key!r} takes {wanted}, received {_short(received)}")


def _short(value: Any) -> str:
    text = repr(value)
    return text if len(text) <= 80 else text[:77] + "..."


def _join(where: str, key: str) -> str:
    return f"{where}.{key}" if where else key
