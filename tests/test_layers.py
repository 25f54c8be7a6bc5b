"""The house: imports run one way, downwards, and none hides inside a function."""

import ast
from pathlib import Path

import pytest

ROOT = Path(__file__).resolve().parent.parent
OURS = {"app", "cli", "schemas", "services", "models", "database", "times", "config",
        "metrics", "migrations", "postgres", "reference", "tasks"}  # fmt: skip
MAY_IMPORT = {
    "app.py": OURS - {"app", "metrics", "migrations", "postgres"},
    "metrics.py": {"services", "config"},
    "cli.py": {"schemas", "services", "models", "database", "times"},
    "schemas.py": {"database", "models", "times"},
    "services": {"services", "models", "database", "tasks", "times"},
    "models.py": {"database"},
    "times.py": set(),
    "database.py": {"tasks"},
    "postgres.py": {"database", "tasks"},
    "tasks.py": set(),
    "config/gunicorn.py": {"config", "services", "database"},  # it starts the house
    "config/worker.py": {"tasks"},
    "config": {"config"},
    "migrations": set(),
    "reference/openapi.py": OURS,  # it describes the house, and only a developer runs it
    "reference/shapes.py": {"models", "schemas", "reference"},
    "reference/answers.py": {"schemas"},
    "reference": {"services"},
}
FILES = sorted(
    path.relative_to(ROOT)
    for pattern in ("*.py", "services/*.py", "config/*.py", "migrations/*.py", "reference/*.py")
    for path in ROOT.glob(pattern)
)


def imports(path):
    for node in ast.walk(ast.parse((ROOT / path).read_text())):
        if isinstance(node, ast.Import):
            yield from (alias.name.partition(".")[0] for alias in node.names)
        elif isinstance(node, ast.ImportFrom):
            yield (node.module or "").partition(".")[0]


@pytest.mark.parametrize("path", FILES, ids=str)
def test_imports_run_downwards(path):
    allowed = MAY_IMPORT.get(str(path), MAY_IMPORT.get(path.parts[0]))

    assert allowed is not None, f"{path} has no place in the house"
    assert set(imports(path)) & OURS <= allowed


def test_nothing_that_serves_imports_what_describes():
    describing = {"reference.openapi", "reference.shapes", "reference.answers", "apispec"}
    for path in FILES:
        if path.parts[0] != "reference":
            tree = ast.parse((ROOT / path).read_text())
            modules = {node.module for node in ast.walk(tree) if isinstance(node, ast.ImportFrom)}
            names = {
                f"{node.module}.{alias.name}"
                for node in ast.walk(tree)
                if isinstance(node, ast.ImportFrom)
                for alias in node.names
            }
            assert not describing & (modules | names), path


@pytest.mark.parametrize("path", FILES, ids=str)
def test_flask_stays_in_the_application_and_the_commands(path):
    may = ("app.py", "cli.py", "reference/openapi.py")
    assert "flask" not in set(imports(path)) or str(path) in may


@pytest.mark.parametrize("path", FILES, ids=str)
def test_no_import_hides_inside_a_function(path):
    for node in ast.walk(ast.parse((ROOT / path).read_text())):
        if isinstance(node, ast.FunctionDef):
            inner = [n for n in ast.walk(node) if isinstance(n, ast.Import | ast.ImportFrom)]
            assert not inner, f"{node.name} imports"


@pytest.mark.parametrize("path", [p for p in FILES if p.parts[0] == "services"], ids=str)
def test_a_service_function_is_never_over_forty_lines(path):
    for node in ast.walk(ast.parse((ROOT / path).read_text())):
        if isinstance(node, ast.FunctionDef):
            assert node.end_lineno - node.lineno < 40, node.name
