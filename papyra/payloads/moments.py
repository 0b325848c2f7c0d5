"""Tags for dates and times: the wall clock, the fold, and the zone as what it was (fixed, named, or none)."""

from __future__ import annotations

import re
from datetime import date, datetime, time, timedelta, timezone
from typing import Any
from zoneinfo import ZoneInfo

from papyra.payloads.names import message_name

Tag = dict[str, Any]

_MINUTE, _MICROSECOND = timedelta(minutes=1), timedelta(microseconds=1)

# No dots and no leading slash: a stored key can lead neither out of the zone folders nor to a module.
_ZONE_KEY = re.compile(r"[A-Za-z0-9_+-]+(?:/[A-Za-z0-9_+-]+)*\Z")


def write_datetime(value: datetime) -> tuple[Tag, str]:
    """Return the tag, and what it loses: a zone of a class we do not know keeps its offset only."""
    return _write_zoned("datetime", value)


def write_time(value: time) -> tuple[Tag, str]:
    """Like `write_datetime`."""
    return _write_zoned("time", value)


def write_date(value: date) -> tuple[Tag, str]:
    """Return the tag of a date."""
    return {"$": "date", "v": value.isoformat()}, ""


def write_timedelta(value: timedelta) -> tuple[Tag, str]:
    """Return the tag of a duration."""
    return {"$": "timedelta", "v": [value.days, value.seconds, value.microseconds]}, ""


def read_datetime(tag: Tag) -> datetime:
    """Read `write_datetime` back."""
    value = datetime.fromisoformat(tag["v"])
    return value.replace(tzinfo=_read_zone(tag, value), fold=tag.get("fold", 0))


def read_time(tag: Tag) -> time:
    """Read `write_time` back."""
    value = time.fromisoformat(tag["v"])
    return value.replace(tzinfo=_read_zone(tag, value), fold=tag.get("fold", 0))


def read_date(tag: Tag) -> date:
    """Read `write_date` back."""
    return date.fromisoformat(tag["v"])


def read_timedelta(tag: Tag) -> timedelta:
    """Read `write_timedelta` back."""
    days, seconds, microseconds = tag["v"]
    return timedelta(days, seconds, microseconds)


def _write_zoned(name: str, value: datetime | time) -> tuple[Tag, str]:
    zone, lost = value.tzinfo, ""
    tag: Tag
    if zone is None:
        tag = {"$": name, "v": value.isoformat()}
    elif type(zone) is ZoneInfo and type(zone.key) is str and _ZONE_KEY.match(zone.key):
        tag = {"$": name, "v": value.replace(tzinfo=None).isoformat(), "zone": zone.key}
    else:
        if type(zone) is not timezone:
            lost = f"a time zone of type {message_name(zone)} is kept as its offset only"
            value = value.replace(tzinfo=_fixed(value.utcoffset()))
        tag = _write_fixed(name, value)
    if value.fold:
        tag["fold"] = 1
    return tag, lost


def _fixed(offset: object) -> timezone | None:
    return timezone(offset) if type(offset) is timedelta else None


def _write_fixed(name: str, value: datetime | time) -> Tag:
    zone = value.tzinfo
    tag: Tag = {"$": name, "v": value.isoformat()}
    if not isinstance(zone, timezone):
        return tag
    offset = zone.utcoffset(None)
    if offset % _MINUTE:  # ISO 8601 has no such offsets, and Python's reader drops some
        tag = {"$": name, "v": value.replace(tzinfo=None).isoformat(), "offset": offset // _MICROSECOND}
    zone_name = zone.tzname(None)  # equality does not look at it, formatting does
    if zone_name != timezone(offset).tzname(None) and zone_name.isprintable():
        tag["name"] = zone_name
    return tag


def _read_zone(tag: Tag, value: datetime | time) -> timezone | ZoneInfo | None:
    if "zone" in tag:
        if not _ZONE_KEY.match(tag["zone"]):
            raise ValueError(f"not the name of a time zone: {tag['zone']!r:.100}")
        return ZoneInfo(tag["zone"])
    offset = tag["offset"] * _MICROSECOND if "offset" in tag else value.utcoffset()
    if offset is None:
        return None
    return timezone(offset, tag["name"]) if "name" in tag else timezone(offset)
