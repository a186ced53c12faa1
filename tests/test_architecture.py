"""The rules of ARCHITECTURE.md that a reader would otherwise have to trust."""

import ast
import os
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path

import pytest

ROOT = Path(__file__).parents[1]
SOURCES = sorted(
    path for package in ("app", "worker", "model") for path in (ROOT / package).rglob("*.py")
)

MAX_LINES = 400
ENTRY_POINTS = {"app/main.py", "app/cli.py", "worker/gpu.py", "worker/courier.py"}


def name_of(path: Path) -> str:
    return path.relative_to(ROOT).as_posix()


def modules_after(statement: str) -> set[str]:
    """The modules that a fresh interpreter has loaded after running `statement`."""
    script = f"{statement}\nimport sys\nprint(*sys.modules)"
    done = subprocess.run(
        [sys.executable, "-c", script], cwd=ROOT, capture_output=True, text=True, check=False
    )
    assert done.returncode == 0, done.stderr
    return set(done.stdout.split())


def test_ruff_finds_nothing() -> None:
    done = subprocess.run(
        [sys.executable, "-m", "ruff", "check", "--quiet", "--output-format", "concise", ROOT],
        capture_output=True,
        text=True,
        check=False,
    )

    assert done.stdout == ""


def test_the_import_rules_of_pyproject_hold() -> None:
    done = subprocess.run(
        [sys.executable, "-c", "from importlinter.cli import lint_imports_command as run; run()"],
        cwd=ROOT,
        capture_output=True,
        text=True,
        check=False,
    )

    assert done.returncode == 0, done.stdout + done.stderr


@pytest.mark.parametrize(
    ("module", "unwanted"),
    [
        ("app.contract.store", {"fastapi", "starlette", "torch", "transformers", "model"}),
        ("app.contract.queue", {"fastapi", "starlette", "torch", "transformers", "model"}),
        ("app.main", {"torch", "transformers", "model", "worker"}),
        ("app.cli", {"torch", "transformers"}),
        ("worker.courier", {"fastapi", "starlette", "torch", "transformers", "model"}),
        ("worker.gpu", {"fastapi", "starlette", "torch", "transformers"}),
        ("model", {"fastapi", "starlette", "celery", "sqlalchemy", "redis", "app", "worker"}),
    ],
)
def test_a_process_loads_only_what_it_is_for(module: str, unwanted: set[str]) -> None:
    assert modules_after(f"import {module}") & unwanted == set()


def test_importing_every_module_reads_no_setting_and_starts_no_thread() -> None:
    modules = [name_of(path).removesuffix(".py").replace("/", ".") for path in SOURCES]
    imports = "\n".join(
        f"import {module.removesuffix('.__init__')}"
        for module in modules
        if not module.endswith("__main__") and not module.startswith("app.migrations")
    )
    check = "import threading\nassert all(t.daemon for t in threading.enumerate()[1:])"
    # With a port that is no number, reading the settings fails.
    environment = {**os.environ, "KINORA_PORT": "none", "KINORA_LOG_LEVEL": "none"}

    done = subprocess.run(
        [sys.executable, "-c", f"{imports}\n{check}"],
        cwd=ROOT,
        env=environment,
        capture_output=True,
        text=True,
        check=False,
    )

    assert done.returncode == 0, done.stderr


def variables_read(tree: ast.AST) -> Iterator[str]:
    """Names that are looked up in the environment; handing all of it to a child is no look-up."""
    for node in ast.walk(tree):
        match node:
            case ast.Subscript(value=ast.Attribute(attr="environ"), slice=ast.Constant(value=name)):
                yield name
            case ast.Call(
                func=ast.Attribute(value=ast.Attribute(attr="environ")),
                args=[ast.Constant(value=name), *_],
            ):
                yield name
            case ast.Call(func=ast.Attribute(attr="getenv"), args=[ast.Constant(value=name), *_]):
                yield name
            case ast.Compare(
                left=ast.Constant(value=name), comparators=[ast.Attribute(attr="environ")]
            ):
                yield name


@pytest.mark.parametrize("path", SOURCES, ids=name_of)
def test_only_settings_and_entry_points_look_up_variables(path: Path) -> None:
    read = set(variables_read(ast.parse(path.read_text())))

    assert path.name == "settings.py" or name_of(path) in ENTRY_POINTS or read <= {"PYTHONPATH"}


@pytest.mark.parametrize("path", SOURCES, ids=name_of)
def test_a_file_holds_one_idea_and_stays_short(path: Path) -> None:
    assert len(path.read_text().splitlines()) <= MAX_LINES


@pytest.mark.parametrize("path", SOURCES, ids=name_of)
def test_a_file_is_named_by_its_noun(path: Path) -> None:
    assert path.stem not in {"utils", "util", "helpers", "common", "misc", "base", "managers"}


def test_packages_are_empty_but_for_the_public_surface() -> None:
    filled = {
        name_of(path)
        for path in SOURCES
        if path.name == "__init__.py"
        and any(not isinstance(node, ast.Expr) for node in ast.parse(path.read_text()).body)
    }

    assert filled <= {"model/__init__.py"}
