"""How `make docs` builds these pages; a warning is an error there."""

from __future__ import annotations

from papyra import __version__

project = "papyra"
author = "the papyra authors"
copyright = f"2026, {author}"
version = release = __version__

extensions = ["myst_parser"]
source_suffix = {".md": "markdown"}
exclude_patterns = ["_build"]
nitpicky = True
myst_enable_extensions = ["colon_fence"]
myst_heading_anchors = 3

html_theme = "furo"
html_title = f"papyra {release}"
