"""Make .venv and install papyra with the named extras into it, once; a failure is one sentence and exit 1.

Standard library only, and no syntax newer than Python 3.6: it has to run on the Pythons it turns away.
"""

import hashlib
import json
import os
import re
import shutil
import subprocess
import sys
from pathlib import Path

OLDEST = (3, 11)
ROOT = Path(__file__).resolve().parent.parent
VENV = ROOT / ".venv"
PYTHON = VENV / "bin" / "python"
STAMP = VENV / "papyra-installed.json"
LOG = VENV / "install.log"

NETWORK_TROUBLE = re.compile(
    r"\(from versions: none\)|connection broken|establish a new connection|name resolution|timed out",
    re.IGNORECASE,
)
ERROR_LINE = re.compile(r"(?:ERROR|[\w.]*Error): ")


class BootstrapError(Exception):
    """What the reader can do something about, in one sentence."""


def main(extras: "list[str]") -> int:
    """Install what is missing; return the exit code."""
    try:
        if not is_installed(extras):
            install(extras)
    except BootstrapError as error:
        print(f"papyra: {error}", file=sys.stderr)
        return 1
    except OSError as error:
        print(f"papyra: cannot set up {VENV}: {error}", file=sys.stderr)
        return 1
    except KeyboardInterrupt:
        return 130
    return 0


def is_installed(extras: "list[str]") -> bool:
    """Whether these extras were installed from this checkout with its pyproject.toml as it is now."""
    made_from, known = read_stamp()
    return made_from == fingerprint() and set(extras) <= set(known) and venv_works()


def install(extras: "list[str]") -> None:
    """Create the environment where none works, install into it, and write the stamp last."""
    if not venv_works():
        create_venv()
    print(f"papyra: installing into {VENV} ({', '.join(extras) or 'no extras'})", flush=True)
    pip_install(extras)
    made_from, known = read_stamp()
    kept = known if made_from == fingerprint() else []
    fresh = STAMP.with_suffix(".new")
    fresh.write_text(json.dumps({"made_from": fingerprint(), "extras": sorted({*kept, *extras})}))
    fresh.replace(STAMP)


def create_venv() -> None:
    """Run the venv module; a half-made environment is taken away again."""
    if sys.version_info < OLDEST:
        oldest, found = dotted(OLDEST), dotted(sys.version_info[:3])
        raise BootstrapError(
            f"Python {oldest} or newer is needed, and {sys.executable} is {found};"
            " name another one with make PYTHON=/path/to/python3"
        )
    was_there = VENV.exists()
    made = run([sys.executable, "-m", "venv", "--clear", str(VENV)])
    if made.returncode != 0:
        if not was_there:
            shutil.rmtree(str(VENV), ignore_errors=True)
        if re.search("ensurepip|No module named '?venv", made.stdout):
            raise BootstrapError(
                f"{sys.executable} has no venv module (on Debian: apt-get install python3-venv)"
            )
        raise BootstrapError(f"{sys.executable} cannot make {VENV}: {last_word(made.stdout)}")


def pip_install(extras: "list[str]") -> None:
    """Install the checkout, editable; pip's own many words go to a log."""
    target = f"{ROOT}[{','.join(extras)}]" if extras else str(ROOT)
    environment = dict(os.environ, PIP_DISABLE_PIP_VERSION_CHECK="1", PIP_NO_INPUT="1")
    environment.setdefault("PIP_RETRIES", "2")
    done = run([str(PYTHON), "-m", "pip", "install", "-e", target], environment)
    LOG.write_text(done.stdout, encoding="utf-8")
    if done.returncode != 0:
        offline = NETWORK_TROUBLE.search(done.stdout) is not None
        problem = "no package index gives what is needed; is the network up?" if offline else "pip failed:"
        raise BootstrapError(f"{problem} {last_word(done.stdout)} (all that pip said: {LOG})")


def venv_works() -> bool:
    """Whether the environment's own interpreter starts, is new enough and has pip."""
    probe = f"import sys, pip; sys.exit(sys.version_info < {OLDEST!r})"
    try:
        return run([str(PYTHON), "-c", probe]).returncode == 0
    except OSError:
        return False


def run(
    command: "list[str]", environment: "dict[str, str] | None" = None
) -> "subprocess.CompletedProcess[str]":
    """Run to the end, both streams as one text."""
    return subprocess.run(
        command,
        check=False,
        cwd=str(ROOT),
        env=environment,
        stdin=subprocess.DEVNULL,
        stdout=subprocess.PIPE,
        stderr=subprocess.STDOUT,
        universal_newlines=True,
        errors="replace",
    )


def last_word(text: str) -> str:
    """Return the last line that names an error, else the last line there is."""
    lines = [line.strip() for line in text.splitlines() if line.strip()]
    errors = [line for line in lines if ERROR_LINE.match(line)]
    return (errors or lines or ["it gave no reason"])[-1].replace("ERROR: ", "")


def dotted(version: "tuple[int, ...]") -> str:
    """Return a version as people write it."""
    return ".".join(str(part) for part in version)


def fingerprint() -> str:
    """Name what an installation depends on: where the checkout lies and what its pyproject.toml says."""
    return hashlib.sha256(bytes(ROOT) + b"\0" + (ROOT / "pyproject.toml").read_bytes()).hexdigest()


def read_stamp() -> "tuple[str, list[str]]":
    """Return fingerprint and extras of the last installation; empty where the stamp cannot be read."""
    try:
        stamp = json.loads(STAMP.read_text())
        return str(stamp["made_from"]), [str(extra) for extra in stamp["extras"]]
    except (OSError, ValueError, KeyError, TypeError):
        return "", []


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
