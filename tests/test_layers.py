"""Imports follow the layers, downwards only, and none is inside a function."""

import ast
from pathlib import Path

import pytest

ROOT = Path(__file__).resolve().parent.parent
FILES = sorted(
    path.relative_to(ROOT)
    for pattern in ("*.py", "*/*.py", "services/*/*.py")
    for path in ROOT.glob(pattern)
    if path.relative_to(ROOT).parts[0] not in ("tests", "bench", "docs", "var", ".venv")
)
OURS = {path.parts[0].removesuffix(".py") for path in FILES}
SCHEMAS = {"schemas", "lead_schemas", "intake_schemas", "webhook_schemas"}
MODELS = {"ids", "models", "intake_models", "webhook_models"}
CATALOGUE = SCHEMAS | {"tool_schemas", "envelopes", "bases", "fields"}
MAY_IMPORT = {
    "app.py": OURS - {"app", "reference", "migrations"},
    "routes": {"routes", "web", "services"} | CATALOGUE,
    "routes/public.py": {"routes", "web", "services", "config"} | CATALOGUE,  # the version
    "web": {"web", "services", "config"} | CATALOGUE,
    "web/answers.py": {"web", "services", "times"} | MODELS | CATALOGUE,
    "web/body.py": {"services", "scheduling", "decoding"} | CATALOGUE,
    "desk": {"desk", "services", "web", "times"} | CATALOGUE,
    "cli/demo.py": {"cli", "services", "web"} | MODELS | SCHEMAS,  # it names the pages
    "cli/files.py": {"cli", "bases", "fields", "services"} | SCHEMAS,
    "cli": {"cli", "decoding", "fields", "services", "database", "times"} | MODELS | SCHEMAS,
    "cli/webhooks.py": {"cli", "config", "fields", "services", "sender", "times"} | MODELS,
    "envelopes.py": {"bases"} | SCHEMAS,
    "schemas.py": {"bases", "fields", "times"} | MODELS,
    "lead_schemas.py": {"bases", "fields", "schemas"} | MODELS,
    "intake_schemas.py": {"bases", "fields", "schemas"} | MODELS,
    "webhook_schemas.py": {"bases", "envelopes", "fields", "schemas"} | MODELS,
    "tool_schemas.py": {"bases", "fields", "schemas", "lead_schemas"} | MODELS,
    "cli/version.py": {"cli", "config"},
    "bases.py": set(),
    "fields.py": {"times", "ids"},
    "services": {"services", "database", "scheduling", "times"} | MODELS,
    # It repairs payloads field by field, as the schema of a booking decides what is valid.
    "services/payloads.py": {"services", "schemas", "fields", "times"},
    "services/loading.py": {"services", "fields"},
    # Merged metadata may be too large though each part is not.
    "services/lead_changes.py": {"services", "database", "fields", "times"} | MODELS,
    "services/files": {"services", "bases", "database", "times", "decoding"} | MODELS,
    "services/files/kinds.py": {"services", "decoding"} | MODELS | SCHEMAS,  # by POST's schemas
    "services/providers": {"services", "times"} | MODELS,
    "services/providers/events.py": {"fields"},  # which characters a text may hold
    "services/providers/generic.py": {"services", "schemas", "fields"} | MODELS,  # targets
    "services/intake.py": {"services", "database", "scheduling", "times", "decoding"} | MODELS,
    "sender/__main__.py": {"config", "sender", "services", "database"},  # it starts the sender
    "sender/run.py": {"config", "sender", "services"},  # the version
    "sender": {"sender", "services", "database", "times"} | MODELS,
    "services/errors.py": set(),
    "services/results.py": {"services"},
    "models.py": {"database"},
    "intake_models.py": {"database", "models"},
    "webhook_models.py": {"database", "models"},
    "ids.py": set(),
    "times.py": set(),
    "decoding.py": set(),
    "database": {"database", "scheduling"},
    "scheduling.py": set(),
    "config": {"config"},
    "config/gunicorn.py": {"config", "services", "database"},  # it starts the service
    "migrations": set(),
    "reference": {"reference", "routes", "web", "services", "config"} | MODELS | CATALOGUE,
}


def tree_of(path):
    return ast.parse((ROOT / path).read_text())


def is_type_checking(node):
    return isinstance(node, ast.If) and "TYPE_CHECKING" in ast.dump(node.test)


def imports(path):
    """Yield all names that a file imports, also as strings: `import_module("services.users")`."""
    tree = tree_of(path)
    for_types = {id(n) for node in ast.walk(tree) if is_type_checking(node) for n in ast.walk(node)}
    for node in ast.walk(tree):
        if id(node) in for_types:
            continue
        if isinstance(node, ast.Import):
            yield from (alias.name for alias in node.names)
        elif isinstance(node, ast.ImportFrom):
            yield from (f"{node.module}.{alias.name}" for alias in node.names)
        elif isinstance(node, ast.Call) and "import_module" in ast.dump(node.func):
            yield from (a.value for a in node.args if isinstance(a, ast.Constant))


def first_parts(names):
    return {name.partition(".")[0] for name in names}


@pytest.mark.parametrize("path", FILES, ids=str)
def test_a_file_imports_only_from_layers_below_it(path):
    places = [MAY_IMPORT.get(str(p)) for p in (path, path.parent, path.parts[0])]
    allowed = next((place for place in places if place is not None), None)

    assert allowed is not None, f"{path} has no place in the layout"
    assert first_parts(imports(path)) & OURS <= allowed


def module_name(path):
    parts = path.with_suffix("").parts
    return ".".join(parts[:-1] if parts[-1] == "__init__" else parts)


def test_there_are_no_import_cycles():
    modules = {module_name(path): path for path in FILES}
    graph = {}
    for module, path in modules.items():
        found = {name if name in modules else name.rpartition(".")[0] for name in imports(path)}
        graph[module] = (found & modules.keys()) - {module}

    def reachable(start):
        seen, todo = set(), [*graph[start]]
        while todo:
            module = todo.pop()
            if module not in seen:
                seen.add(module)
                todo += graph[module]
        return seen

    reach = {module: reachable(module) for module in graph}
    cycles = {
        frozenset(other for other in reach[module] if module in reach[other])
        for module in graph
        if module in reach[module]
    }
    assert not cycles


@pytest.mark.parametrize("path", [p for p in FILES if p.parts[0] != "reference"], ids=str)
def test_the_service_does_not_import_the_code_that_builds_the_document(path):
    assert not first_parts(imports(path)) & {"reference", "apispec"}


@pytest.mark.parametrize("path", FILES, ids=str)
def test_only_the_web_layers_import_flask(path):
    may = ("app.py", "cli", "desk", "routes", "web", "reference/openapi.py")
    uses_flask = "flask" in first_parts(imports(path))

    assert not uses_flask or str(path) in may or path.parts[0] in may


@pytest.mark.parametrize("path", FILES, ids=str)
def test_no_import_is_inside_a_function(path):
    for node in ast.walk(tree_of(path)):
        if isinstance(node, ast.FunctionDef):
            inner = [n for n in ast.walk(node) if isinstance(n, ast.Import | ast.ImportFrom)]
            assert not inner, f"{node.name} imports"


@pytest.mark.parametrize("path", FILES, ids=str)
def test_no_function_is_longer_than_forty_lines(path):
    for node in ast.walk(tree_of(path)):
        if isinstance(node, ast.FunctionDef):
            assert node.end_lineno - node.lineno < 40, node.name


@pytest.mark.parametrize("path", [p for p in FILES if p.parts[0] == "routes"], ids=str)
def test_a_route_does_not_branch(path):
    branches = ast.If | ast.IfExp | ast.Try | ast.For | ast.While | ast.Match
    for node in ast.walk(tree_of(path)):
        if isinstance(node, ast.FunctionDef) and node.name != "authenticate":
            assert not [n for n in ast.walk(node) if isinstance(n, branches)], node.name


def call_of(node, *names):
    return isinstance(node, ast.Call) and isinstance(node.func, ast.Name) and node.func.id in names


@pytest.mark.parametrize("path", [p for p in FILES if p.parts[0] == "routes"], ids=str)
def test_a_route_loads_the_schemas_that_its_decorator_names(path):
    for node in ast.walk(tree_of(path)):
        decorators = getattr(node, "decorator_list", [])
        for described in [d for d in decorators if call_of(d, "answers")]:
            named = {k.value.id for k in described.keywords if k.arg in ("body", "query")}
            loads = ("load", "load_partly", "load_rows", "load_query")
            calls = [n for n in ast.walk(node) if call_of(n, *loads)]
            loaded = {argument.id for call in calls for argument in call.args}
            assert loaded == named, node.name
