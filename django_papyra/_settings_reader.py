"""Read a settings dict into a dataclass: keys known, values of their types, each problem with its place."""

from __future__ import annotations

import difflib
import math
import re
import types
from collections.abc import Callable, Mapping, Sequence
from dataclasses import Field, fields, is_dataclass
from enum import StrEnum
from typing import TYPE_CHECKING, Any, NamedTuple, TypeVar, Union, get_args, get_origin, get_type_hints

if TYPE_CHECKING:
    from _typeshed import DataclassInstance

Section = TypeVar("Section", bound="DataclassInstance")

_WORDS = {bool: "True or False", str: "text", int: "a whole number", float: "a number"}


class Problem(NamedTuple):
    """What is wrong, where, and what would do."""

    where: str
    what: str
    hint: str = ""

    def __str__(self) -> str:
        return f"{self.where}: {self.what}" + (f" ({self.hint})" if self.hint else "")


class _WrongError(Exception):
    def __init__(self, what: str, hint: str = "") -> None:
        super().__init__(what)
        self.what, self.hint = what, hint


def suggestion(word: object, known: Sequence[str]) -> str:
    """Return "did you mean …?" for the nearest of ``known``, else the list of them."""
    near = difflib.get_close_matches(str(word).lower(), [name.lower() for name in known], n=1)
    if near:
        return f"did you mean '{next(name for name in known if name.lower() == near[0])}'?"
    return f"known: {', '.join(known)}" if known else "it takes no keys"


def read_section(
    cls: type[Section],
    raw: object,
    where: str,
    problems: list[Problem],
    *,
    spell: Callable[[str], str] = str.lower,
) -> Section:
    """Return ``raw`` as a ``cls``; what is wrong goes to ``problems``, and its default stands in for it."""
    if not isinstance(raw, Mapping):
        problems.append(Problem(where, f"must be a dict, not {type(raw).__name__}"))
        return cls()
    known = {spell(spec.name): spec for spec in fields(cls)}
    hints = get_type_hints(cls)
    values: dict[str, Any] = {}
    for key, value in raw.items():
        spec = known.get(key)
        if spec is None:
            problems.append(Problem(where, f"unknown key {key!r}", suggestion(key, tuple(known))))
            continue
        place = f"{where}[{key!r}]"
        try:
            values[spec.name] = _read(hints[spec.name], value, place, problems)
            _check_bounds(spec, values[spec.name])
        except _WrongError as error:
            values.pop(spec.name, None)
            problems.append(Problem(place, error.what, error.hint))
    return cls(**values)


def _read(hint: Any, value: object, where: str, problems: list[Problem]) -> object:
    if get_origin(hint) in {Union, types.UnionType}:
        if value is None:
            return None
        (hint,) = (option for option in get_args(hint) if option is not types.NoneType)
    if is_dataclass(hint) and isinstance(hint, type):
        return read_section(hint, value, where, problems)
    if get_origin(hint) is tuple:
        return _read_words(value)
    if get_origin(hint) is Mapping:
        return _read_mapping(value)
    if issubclass(hint, StrEnum):
        return _read_word(hint, value)
    return _read_plain(hint, value)


def _read_words(value: object) -> tuple[str, ...]:
    if isinstance(value, str) or not isinstance(value, Sequence):
        raise _WrongError(f"must be a list of texts, not {value!r}")
    wrong = [item for item in value if not isinstance(item, str)]
    if wrong:
        raise _WrongError(f"must hold texts only, not {wrong[0]!r}")
    return tuple(value)


def _read_mapping(value: object) -> Mapping[str, object]:
    if not isinstance(value, Mapping) or not all(isinstance(key, str) for key in value):
        raise _WrongError(f"must be a dict with texts as keys, not {value!r}")
    return types.MappingProxyType(dict(value))


def _read_word(hint: type[StrEnum], value: object) -> StrEnum:
    words = tuple(hint)
    if isinstance(value, str) and value in words:
        return hint(value)
    raise _WrongError(f"unknown word {value!r}", suggestion(value, words))


def _read_plain(hint: type, value: object) -> object:
    is_flag = isinstance(value, bool)
    if hint is float and isinstance(value, int | float) and not is_flag and math.isfinite(value):
        return float(value)
    if isinstance(value, hint) and (is_flag is (hint is bool)) and hint is not float:
        return value
    raise _WrongError(f"must be {_WORDS[hint]}, not {value!r}")


def _check_bounds(spec: Field[object], value: object) -> None:
    least, above, pattern = (spec.metadata.get(name) for name in ("least", "above", "pattern"))
    if least is not None and isinstance(value, int | float) and value < least:
        raise _WrongError(f"must be {least} or more, not {value!r}")
    if above is not None and isinstance(value, int | float) and value <= above:
        raise _WrongError(f"must be more than {above}, not {value!r}")
    if pattern is not None and not re.fullmatch(pattern, str(value)):
        raise _WrongError(f"{value!r} is not allowed", f"allowed: {pattern}")
