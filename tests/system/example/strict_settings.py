"""The example as somebody runs it who lets nobody repair anything unasked."""

from __future__ import annotations

from orderdesk_site.settings import *  # type: ignore[import-not-found]  # noqa: F403  # on the example's path
from orderdesk_site.settings import PAPYRA as EXAMPLE

PAPYRA = {**EXAMPLE, "STARTUP": {"mode": "fail_on_anomaly"}}
