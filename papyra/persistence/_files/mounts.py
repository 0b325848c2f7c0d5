"""What Linux says under /proc about the mount an open file is in; see proc(5)."""

from __future__ import annotations


def mount_of(fdinfo: str) -> str:
    """Return the id of the mount in the text of ``/proc/self/fdinfo/<fd>``, empty where there is none."""
    for line in fdinfo.splitlines():
        name, _, value = line.partition(":")
        if name == "mnt_id":
            return value.strip()
    return ""


def kind_of_mount(mountinfo: str, mount: str) -> str:
    """Return the kind of file system of a mount in the text of ``/proc/self/mountinfo``, empty if unknown.

    Blanks in names stand there as octal escapes, so that a field is what lies between two blanks.
    """
    for line in mountinfo.splitlines():
        before, _, after = line.partition(" - ")
        if after and before.split(" ", 1)[0] == mount:
            return after.split(" ", 1)[0]
    return ""
