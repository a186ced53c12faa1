"""What `pip install` gives: exact versions, and a wheel with all that the code reads."""

import importlib.metadata
import os
import re
import shutil
import subprocess
import sys
import tomllib
import zipfile
from pathlib import Path

import pytest

ROOT = Path(__file__).parents[1]
PROJECT = tomllib.loads((ROOT / "pyproject.toml").read_text())["project"]
PINS = dict(
    line.split("==")
    for line in (ROOT / "constraints.txt").read_text().lower().splitlines()
    if not line.startswith("#")
)


def normal(name: str) -> str:
    return re.sub(r"[-_.]+", "-", name).lower()


def requirements() -> list[str]:
    extras = PROJECT["optional-dependencies"].values()
    wanted = [*PROJECT["dependencies"], *(line for extra in extras for line in extra)]
    names = {normal(re.match(r"[\w.-]+", line).group()) for line in wanted}
    return sorted(names - {"kinora"})


@pytest.mark.parametrize("name", requirements())
def test_a_requirement_has_an_exact_version_and_it_is_installed(name: str) -> None:
    pins = {normal(pinned): version for pinned, version in PINS.items()}

    assert pins[name] == importlib.metadata.version(name).partition("+")[0]


def test_the_core_brings_neither_web_nor_tensors() -> None:
    core = {normal(re.match(r"[\w.-]+", line).group()) for line in PROJECT["dependencies"]}

    assert core & {"fastapi", "uvicorn", "torch", "transformers", "numpy", "pillow"} == set()


def test_the_wheel_holds_the_page_and_the_migrations_and_no_tests(tmp_path: Path) -> None:
    source = tmp_path / "source"
    for package in ("app", "worker", "model"):
        ignored = shutil.ignore_patterns("weights", "__pycache__")
        shutil.copytree(ROOT / package, source / package, ignore=ignored)
    for name in ("pyproject.toml", "README.md", "LICENSE"):
        shutil.copy(ROOT / name, source)
    command = [sys.executable, "-m", "pip", "wheel", "--quiet", "--no-deps", "--no-build-isolation"]
    subprocess.run([*command, "--wheel-dir", tmp_path, source], check=True)
    (wheel,) = tmp_path.glob("kinora-*.whl")

    names = set(zipfile.ZipFile(wheel).namelist())

    data = {
        path.relative_to(ROOT).as_posix()
        for folder in ("app/migrations", "app/studio")
        for path in (ROOT / folder).rglob("*")
        if path.is_file() and "__pycache__" not in path.parts
    }
    assert data - names == set()
    assert [name for name in names if name.startswith(("tests/", "bench/", "docs/"))] == []


def program(folder: Path, name: str, script: str) -> Path:
    """A small program of that name."""
    folder.mkdir(exist_ok=True)
    path = folder / name
    path.write_text(f"#!/bin/sh\n{script}\n")
    path.chmod(0o755)
    return path


def setup(tmp_path: Path, **environment: str) -> str:
    """What scripts/setup says when it refuses to make an environment in an empty copy."""
    (tmp_path / "copy/scripts").mkdir(parents=True)
    shutil.copy(ROOT / "scripts/setup", tmp_path / "copy/scripts")
    done = subprocess.run(
        [tmp_path / "copy/scripts/setup", "embedded"],
        env={**os.environ, **environment},
        capture_output=True,
        text=True,
        check=False,
    )
    assert done.returncode == 1
    assert not (tmp_path / "copy/.venv").exists()
    return done.stderr


def test_setup_says_that_python_is_too_old(tmp_path: Path) -> None:
    old = program(tmp_path / "bin", "old", '[ "$1" = --version ] && echo Python 3.9.2 || exit 1')

    said = setup(tmp_path, PYTHON=str(old))

    assert "needs Python 3.11 or newer" in said
    assert "Python 3.9.2" in said


def test_setup_says_that_venv_is_missing(tmp_path: Path) -> None:
    script = f'case "$2" in *ensurepip*) exit 1;; esac; exec {sys.executable} "$@"'
    bare = program(tmp_path / "bin", "bare", script)

    assert "apt-get install python3-venv" in setup(tmp_path, PYTHON=str(bare))


def test_setup_says_that_the_disk_is_too_full(tmp_path: Path) -> None:
    program(tmp_path / "bin", "df", "echo Filesystem; echo disk 1000 488 512 49% /")

    said = setup(tmp_path, PATH=f"{tmp_path / 'bin'}:{os.environ['PATH']}", PYTHON=sys.executable)

    assert "512 MB free" in said
