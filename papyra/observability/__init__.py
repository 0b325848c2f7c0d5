"""Numbers about a running system: counted on the floor (`instruments`), exported above it."""

from __future__ import annotations
