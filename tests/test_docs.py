"""The prose tells what the code does: settings, error codes, targets, snippets, links."""

import ast
import re
import subprocess
from collections.abc import Iterator
from pathlib import Path

import pytest

from app.contract.settings import Settings, documentation
from worker.settings import WorkerSettings

ROOT = Path(__file__).parents[1]
README = (ROOT / "README.md").read_text()
ERRORS = (ROOT / "docs/errors.md").read_text()
PAGES = sorted([*ROOT.glob("*.md"), *(ROOT / "docs").rglob("*.md")])


def rows(page: str, heading: str) -> list[list[str]]:
    """The cells of the table under a heading, without its head."""
    section = page.split(f"\n{heading}\n", 1)[1].split("\n## ", 1)[0]
    lines = [line for line in section.splitlines() if line.startswith("|")][2:]
    return [[cell.strip() for cell in line.strip("|").split("|")] for line in lines]


def snippets(language: str) -> list[str]:
    return re.findall(rf"^```{language}\n(.*?)^```", README, re.MULTILINE | re.DOTALL)


def as_cell(default: object) -> str:
    if default is None or default == "":
        return ""
    return f"`{str(default).lower() if isinstance(default, bool) else default}`"


def test_the_table_of_settings_is_what_the_code_says() -> None:
    settings = {**documentation(Settings), **documentation(WorkerSettings)}
    expected = [[f"`{name}`", as_cell(value), text] for name, (value, text) in settings.items()]

    assert expected == rows(README, "## Settings")


def variables_named_in_code() -> set[str]:
    """The settings, and the variables that the command line itself reads."""
    sources = (path.read_text() for path in (ROOT / "app").glob("*.py"))
    options = {name for text in sources for name in re.findall(r'"(KINORA_[A-Z0-9_]+)"', text)}
    return options | documentation(Settings).keys() | documentation(WorkerSettings).keys()


def test_every_variable_of_the_code_is_in_the_readme() -> None:
    assert variables_named_in_code() - set(re.findall(r"`(KINORA_[A-Z0-9_]+)", README)) == set()


def test_every_variable_that_is_mentioned_anywhere_exists() -> None:
    below = [file for file in (ROOT / "docker").rglob("*") if file.is_file()]
    files = [*PAGES, ROOT / "compose.yaml", ROOT / "Makefile", *below]

    mentioned = {m for f in files for m in re.findall(r"\bKINORA_[A-Z0-9_]+", f.read_text())}

    assert mentioned - variables_named_in_code() == {"KINORA_TAG"}  # compose.yaml's own


def test_the_table_of_targets_is_what_make_help_prints() -> None:
    printed = subprocess.run(
        ["make", "--no-print-directory", "help"],
        cwd=ROOT,
        capture_output=True,
        text=True,
        check=True,
    ).stdout.splitlines()
    expected = [re.match(r"\s+(make \w+)\s+(.*)", line).groups() for line in printed]

    assert expected == [(name.strip("`"), text) for name, text in rows(README, "## Make targets")]


def constants(node: ast.AST | None) -> Iterator[str]:
    """The strings that an expression may be: itself, or either side of a choice."""
    match node:
        case ast.Constant(value=str(text)):
            yield text
        case ast.IfExp(body=body, orelse=other):
            yield from constants(body)
            yield from constants(other)


def error_codes(tree: ast.AST) -> Iterator[str]:
    """Strings given to something named `code`, and the codes of the table of failures."""
    for node in ast.walk(tree):
        match node:
            case ast.keyword(arg="code" | "error_code", value=value):
                yield from constants(value)
            case ast.Assign(targets=[ast.Name(id="code")], value=value):
                yield from constants(value)
            case ast.Assign(targets=[ast.Attribute(attr="code")], value=value):
                yield from constants(value)
            case ast.Assign(targets=[ast.Tuple(elts=names)], value=ast.Tuple(elts=values)):
                for name, value in zip(names, values, strict=False):
                    if "code" in (getattr(name, "id", ""), getattr(name, "attr", "")):
                        yield from constants(value)
            case ast.AnnAssign(target=ast.Name(id="code"), value=value):
                yield from constants(value)
            case ast.AnnAssign(target=ast.Name(id="TABLE"), value=ast.Tuple(elts=entries)):
                for entry in entries:
                    yield from constants(entry.elts[1])
            case ast.Call(func=ast.Name(id="Failure"), args=[first, *_]):
                yield from constants(first)


def code_trees() -> list[ast.AST]:
    files = [f for package in ("app", "worker") for f in (ROOT / package).rglob("*.py")]
    return [ast.parse(file.read_text()) for file in files]


def documented_codes() -> set[str]:
    of_requests = {row[1] for row in rows(ERRORS, "## Of a request")}
    of_jobs = {row[0] for row in rows(ERRORS, "## Of a job")}
    return {cell.strip("`") for cell in of_requests | of_jobs}


def test_every_error_code_is_documented() -> None:
    used = {code for tree in code_trees() for code in error_codes(tree)}

    assert used - documented_codes() == set()


def test_every_documented_error_code_can_happen() -> None:
    strings = {
        node.value
        for tree in code_trees()
        for node in ast.walk(tree)
        if isinstance(node, ast.Constant) and isinstance(node.value, str)
    }

    assert documented_codes() - strings == set()


@pytest.mark.parametrize("snippet", snippets("python"))
def test_a_python_snippet_of_the_readme_parses(snippet: str) -> None:
    ast.parse(snippet)


@pytest.mark.parametrize("snippet", snippets("bash"))
def test_a_shell_snippet_of_the_readme_parses(snippet: str) -> None:
    done = subprocess.run(
        ["bash", "-n"], input=snippet, capture_output=True, text=True, check=False
    )

    assert done.returncode == 0, done.stderr


@pytest.mark.parametrize("page", PAGES, ids=lambda page: page.relative_to(ROOT).as_posix())
def test_the_links_of_a_page_lead_somewhere(page: Path) -> None:
    links = re.findall(r"\]\(([^)#]+)(?:#[^)]*)?\)", page.read_text())

    missing = [ln for ln in links if "://" not in ln and not (page.parent / ln).exists()]

    assert missing == []


def test_architecture_names_only_files_that_exist() -> None:
    table = rows((ROOT / "ARCHITECTURE.md").read_text(), "## To change X, open Y")
    named = {name for row in table for name in re.findall(r"`([\w/.]+/[^`]*)`", " ".join(row))}

    assert [name for name in sorted(named) if not (ROOT / name).exists()] == []
