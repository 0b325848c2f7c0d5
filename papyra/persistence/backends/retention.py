"""The published place of `RetentionPolicy`."""

from __future__ import annotations

from papyra.persistence.retention import RetentionPolicy

__all__ = ["RetentionPolicy"]
