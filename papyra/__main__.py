"""`python -m papyra`."""

from __future__ import annotations

import sys

from papyra.cli.app import main

if __name__ == "__main__":
    sys.exit(main())
