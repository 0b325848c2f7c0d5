"""What every test may ask for."""

from __future__ import annotations

pytest_plugins = ["papyra.testing.plugin", "tests.services.plugin", "tests.services.redisfixtures"]
