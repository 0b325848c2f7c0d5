"""Words and numbers for people; pure. Nothing that was stored passes here to drive a terminal."""

# ruff: noqa: PLR2004  # the numbers are where one unit reads better than the next

from __future__ import annotations

from datetime import UTC, datetime, timedelta
from shlex import quote

_EPOCH = datetime(1970, 1, 1, tzinfo=UTC)
_STEPS = ("KiB", "MiB", "GiB", "TiB", "PiB")
_PLURALS = {"anomaly": "anomalies", "entry": "entries"}


def printable(text: str) -> str:
    r"""Return ``text`` with everything that could move, colour or hide escaped as ``\x1b`` or ``\u202e``."""
    if text.isprintable():
        return text
    return "".join(letter if letter.isprintable() else _escaped(letter) for letter in text)


def _escaped(letter: str) -> str:
    number = ord(letter)
    if number < 0x100:
        return f"\\x{number:02x}"
    return f"\\u{number:04x}" if number < 0x10000 else f"\\U{number:08x}"


def clipped(text: str, limit: int) -> str:
    """Return at most about ``limit`` characters of ``text``, saying how many are not shown."""
    return text if len(text) <= limit else f"{text[:limit]}… (+{len(text) - limit:,} characters)"


def counted(number: int, noun: str) -> str:
    """Return ``1 record``, ``1,042 records``, ``2 anomalies``."""
    return f"{number:,} {noun if number == 1 else _PLURALS.get(noun, noun + 's')}"


def sized(number: int) -> str:
    """Return ``2,104 bytes`` or, from 10,000 on, ``1.2 MiB``."""
    if number < 10_000:
        return counted(number, "byte")
    size = float(number)
    unit = ""
    for unit in _STEPS:  # noqa: B007  # the last one is the answer
        size /= 1024
        if size < 1000:
            break
    return f"{size:.1f} {unit}"


def spanned(seconds: float) -> str:
    """Return ``0.4 s``, ``12 s``, ``5 min``, ``3.2 h`` or ``9.0 days``."""
    if seconds < 10:
        return f"{seconds:.1f} s"
    if seconds < 120:
        return f"{seconds:.0f} s"
    if seconds < 7200:
        return f"{seconds / 60:.0f} min"
    return f"{seconds / 3600:.1f} h" if seconds < 172_800 else f"{seconds / 86400:.1f} days"


def timed(timestamp: float | None, timespec: str = "seconds") -> str:
    """Return ``2026-11-25T03:12:07Z``; a number that is no time on any calendar is shown as it is."""
    if timestamp is None:
        return "never"
    try:
        moment = _EPOCH + timedelta(seconds=timestamp)
    except (OverflowError, ValueError):
        return f"{timestamp!r}"
    return moment.isoformat(timespec=timespec).replace("+00:00", "Z")


def shell_word(text: str) -> str:
    """Return ``text`` as one word of a command line that can be copied from a terminal as it stands."""
    if text.isprintable():
        return quote(text)
    return "$'" + "".join(_quoted(letter) for letter in text) + "'"


def _quoted(letter: str) -> str:
    if letter.isprintable():
        return f"\\{letter}" if letter in "\\'" else letter
    is_byte = "\udc80" <= letter <= "\udcff"  # how Python holds a byte of a path that is no UTF-8
    return "".join(
        f"\\x{byte:02x}" for byte in letter.encode("utf-8", "surrogateescape" if is_byte else "surrogatepass")
    )
