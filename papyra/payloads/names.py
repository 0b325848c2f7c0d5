"""What a class is called in the store. Names are written, and compared with known ones; never imported."""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING, Any, TypeVar

from papyra.exceptions import ConfigurationError

if TYPE_CHECKING:
    from collections.abc import Callable

C = TypeVar("C", bound=type)

_MARK = "__papyra_message__"
_MAX_NAME = 200

# Read through `type` itself, so that no metaclass of a message's class gets to run.
_module: Callable[[type], Any] = type.__dict__["__module__"].__get__
_qualname: Callable[[type], Any] = type.__dict__["__qualname__"].__get__
_namespace: Callable[[type], Any] = type.__dict__["__dict__"].__get__


@dataclass(frozen=True, slots=True)
class _Mark:
    name: str | None
    version: int


def message(*, name: str | None = None, version: int = 1) -> Callable[[C], C]:
    """Mark a class as a message with this stored name and version; the mark does nothing else."""
    if name is not None and not (name.isprintable() and 0 < len(name) <= _MAX_NAME):
        raise ConfigurationError(
            f"not a message name: {name!r:.250}; give 1 to {_MAX_NAME} printable characters"
        )
    if type(version) is not int or version < 1:
        raise ConfigurationError(f"not a message version: {version!r:.100}; versions count from 1")

    def mark(cls: C) -> C:
        setattr(cls, _MARK, _Mark(name, version))
        return cls

    return mark


def is_message(cls: type) -> bool:
    """Whether this very class was marked; a mark is not inherited, since a subclass has other fields."""
    return _mark_of(cls) is not None


def message_version(cls: type) -> int:
    """Return the version new payloads of this class are written with."""
    mark = _mark_of(cls)
    return 1 if mark is None else mark.version


def message_name(message_or_type: object) -> str:
    """Return the stored name: as marked, bare for built-ins, else ``module.qualname``; never raises."""
    kind = type(message_or_type)
    cls = message_or_type if issubclass(kind, type) else kind
    assert isinstance(cls, type)  # noqa: S101  # narrows; issubclass(kind, type) is the claim itself
    mark = _mark_of(cls)
    if mark is not None and mark.name is not None:
        return mark.name
    module, qualname = _module(cls), _qualname(cls)
    if type(module) is not str:
        module = "?"
    name: str = qualname if module == "builtins" else f"{module}.{qualname}"
    return utf8_text(name)


def utf8_text(text: str) -> str:
    """Return the text as UTF-8 can hold it: lone surrogates are spelled out."""
    return text if text.isascii() else text.encode("utf-8", "backslashreplace").decode()


def _mark_of(cls: type) -> _Mark | None:
    mark = _namespace(cls).get(_MARK)
    return mark if type(mark) is _Mark else None
