"""A process to be killed or disturbed: does one work, and says on its output what was acknowledged."""

from __future__ import annotations

import asyncio
import os
import sys
from pathlib import Path

from papyra.exceptions import PersistenceError
from tests.faults_files.works import WORKS, Said


def say(text: str) -> None:
    os.write(1, text.encode())


async def main() -> int:
    name, folder = sys.argv[1:]
    work = WORKS[name]
    store = work.open(Path(folder))
    try:
        await work.do(store, Said(say))
    except PersistenceError as error:
        os.write(2, f"{type(error).__name__}: {error}\n".encode())
        return 3
    finally:
        try:
            await store.aclose()
        except PersistenceError as error:
            os.write(2, f"at the end {type(error).__name__}: {error}\n".encode())
    return 0


if __name__ == "__main__":
    sys.exit(asyncio.run(main()))
