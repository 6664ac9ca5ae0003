"""Commands as a user without rights: root may write everywhere, which hides a missing permission."""

import atexit
import os
import shlex
import shutil
import subprocess
import sys
import tempfile
from contextlib import contextmanager
from pathlib import Path

import pytest

NOBODY = 65534
NO_ENTRY = 4242  # in no list of users, as in a container that is started with --user
ROOT = Path(__file__).parents[1]


@contextmanager
def public_folder():
    """A temporary folder that every user may enter (pytest's own are the test user's only)."""
    folder = Path(tempfile.mkdtemp(prefix="robo_orl-test-"))
    folder.chmod(0o755)
    try:
        yield folder
    finally:
        for path in [folder, *folder.rglob("*")]:
            if path.is_dir() and not path.is_symlink():
                path.chmod(0o755)
        shutil.rmtree(folder)


def give(path: Path) -> Path:
    """Hand a file or folder, and all in it, to the user without rights."""
    if os.getuid() == 0:
        for each in [path, *(path.rglob("*") if path.is_dir() else ())]:
            os.chown(each, NOBODY, NOBODY)
    return path


def run_unprivileged(
    *arguments: str, cwd: Path, user: int = NOBODY, **environment: str | None
) -> subprocess.CompletedProcess:
    """`python ARGUMENTS` as a user without rights but that of reading; a variable that is None is unset."""
    return _run([*_drop_rights(user), sys.executable, *arguments], cwd, environment)


WITHOUT_RIGHTS = """
import importlib, os, sys
for module in {modules}: importlib.import_module(module)
if os.getuid() == 0: os.setgroups([]); os.setgid({user}); os.setuid({user})
"""


def run_without_rights(
    code: str, *modules: str, cwd: Path, arguments: tuple = (), **environment: str | None
) -> subprocess.CompletedProcess:
    """`python -c CODE ARGUMENTS` as a user without any rights, not that of reading either.

    modules: imported before the rights are dropped, since the interpreter may lie in root's home.
    """
    begin = WITHOUT_RIGHTS.format(modules=modules, user=NOBODY)
    command = [sys.executable, "-c", begin + code, *map(str, arguments)]
    return _run([*_open_the_way(ROOT, Path(sys.prefix), cwd), *command], cwd, environment)


def _open_the_way(*folders: Path) -> list[str]:
    """The command before another in which every user may enter these folders, at their own paths.

    A checkout in a folder that only its owner may enter (mktemp -d) cannot be imported by another user. In a mount
    namespace of its own, an empty folder that all may enter covers the closed one, and the checkout appears in it.
    """
    if os.getuid() or not any(_closed(folder) for folder in folders):
        return []
    namespace = ["unshare", "--mount", "--propagation", "private"]
    tried = shutil.which("unshare") and subprocess.run([*namespace, "mount", "-t", "tmpfs", "none", "/tmp"])
    if not tried or tried.returncode:
        pytest.skip(f"{folders[0]} is closed to other users, and mount namespaces are not allowed here")
    stage = Path(tempfile.mkdtemp(prefix="robo_orl-stage-"))
    atexit.register(shutil.rmtree, stage, ignore_errors=True)  # empty folders: what is mounted there is the child's
    needed = sorted({folder for folder in (*folders, Path(sys.base_prefix)) if _closed(folder)})  # outer ones first
    lines = []
    for number, folder in enumerate(needed):
        (stage / str(number)).mkdir()
        lines.append(["mount", "--rbind", folder, stage / str(number)])
    lines += [["mount", "-t", "tmpfs", "-o", "mode=755", "none", cover] for cover in sorted({*map(_closed, needed)})]
    for number, folder in enumerate(needed):
        lines += [["mkdir", "-p", folder], ["mount", "--rbind", stage / str(number), folder]]
    script = "\n".join(shlex.join(map(str, line)) for line in lines)
    return [*namespace, "sh", "-ec", f'here=$PWD\n{script}\ncd "$here" && exec "$@"', "sh"]


def _closed(folder: Path) -> Path | None:
    """The outermost folder at or above `folder` that only its owner may enter."""
    return next((p for p in reversed((folder, *folder.parents)) if not p.stat().st_mode & 0o001), None)


def _run(command: list[str], cwd: Path, environment: dict[str, str | None]) -> subprocess.CompletedProcess:
    kept = {"PATH": os.environ["PATH"], "PYTHONPATH": str(ROOT), "OMP_NUM_THREADS": "1", "HOME": "/nonexistent"}
    kept |= {"PYTHONDONTWRITEBYTECODE": "1", "TMPDIR": str(cwd), **environment}
    return subprocess.run(
        command,
        cwd=cwd,
        env={name: value for name, value in kept.items() if value is not None},
        capture_output=True,
        text=True,
        timeout=280,
    )


def _drop_rights(user: int) -> list[str]:
    """The command that drops root's rights but that of reading, since the interpreter may lie in root's home."""
    if os.getuid() != 0:
        return []
    if shutil.which("setpriv") is None:
        pytest.skip("setpriv is not installed: these tests need a user without rights")
    reading = ["--inh-caps", "+dac_read_search", "--ambient-caps", "+dac_read_search"]
    return ["setpriv", f"--reuid={user}", f"--regid={user}", "--clear-groups", *reading]
