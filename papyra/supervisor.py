"""The published home of the parent's decision."""

from __future__ import annotations

from papyra.supervision import SupervisorDecision

__all__ = ["SupervisorDecision"]
