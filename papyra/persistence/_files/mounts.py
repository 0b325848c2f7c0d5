"""What Linux says under /proc about the mount an open file is in, see proc(5), and what that is good for."""

from __future__ import annotations

_FAR = (
    *("nfs", "cifs", "smb", "fuse", "9p", "virtiofs"),
    *("afs", "ceph", "gluster", "lustre", "beegfs", "gfs2", "ocfs2"),
)
_IN_MEMORY = frozenset({"tmpfs", "ramfs"})


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


def doubt_about(kind: str, *, must_be_durable: bool) -> str:
    """Return why a store does not keep its promises in this kind of file system, empty if it does."""
    if kind.startswith(_FAR):
        return (
            f"it lies in a file system of kind {kind}, over a network or through another program: whether a "
            "lock keeps a second writer out and a sync reaches a disk depends on what is behind it; keep the "
            "store on a local disk"
        )
    if must_be_durable and kind in _IN_MEMORY:
        return (
            f"it lies in a file system of kind {kind}, which is memory: with fsync='always' a record is "
            "acknowledged as durable, and gone when the machine stops; keep the store on a disk"
        )
    return ""
