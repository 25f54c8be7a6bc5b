"""Reads the Dockerfile and .dockerignore for tests, as an engine reads them."""

import re
from pathlib import Path

from config.settings import ROOT

Stage = list[tuple[str, str]]


def read_stages() -> list[Stage]:
    """Return the instructions of each stage of the Dockerfile, as (name, argument)."""
    text = re.sub(r"^#.*\n", "", (ROOT / "Dockerfile").read_text(), flags=re.MULTILINE)
    lines = re.sub(r"\\\n\s*", " ", text).splitlines()
    instructions = [
        (name, rest) for name, rest in (s.split(maxsplit=1) for s in lines if s.strip())
    ]
    starts = [n for n, (name, _) in enumerate(instructions) if name == "FROM"]
    return [instructions[a:b] for a, b in zip(starts, [*starts[1:], None], strict=True)]


def argument(stage: Stage, name: str) -> str:
    """Return the argument of the stage's only instruction of that name."""
    [found] = [text for instruction, text in stage if instruction == name]
    return found


def ignore_patterns() -> list[str]:
    """Return the patterns of .dockerignore."""
    lines = (ROOT / ".dockerignore").read_text().splitlines()
    return [line for line in lines if line and not line.startswith("#")]


def sent_files() -> list[Path]:
    """Return the project's files that .dockerignore lets an engine see, without its `.venv`."""
    rules = [(not pattern.startswith("!"), _compile(pattern)) for pattern in ignore_patterns()]

    def is_sent(path: Path) -> bool:
        name = path.relative_to(ROOT).as_posix()
        ignored = [ignores for ignores, expression in rules if expression.match(name)]
        return not (ignored and ignored[-1])  # the last pattern that matches decides

    top = [path for path in ROOT.iterdir() if not path.name.startswith(".")]
    files = [file for path in top for file in ([path] if path.is_file() else path.rglob("*"))]
    return [file for file in files if file.is_file() and is_sent(file)]


def _compile(pattern: str) -> re.Pattern[str]:
    """A pattern matches a path, or a folder above it; `*` stays within a name, `**/` does not."""
    parts = {"**/": "(?:.*/)?", "*": "[^/]*"}
    pieces = re.split(r"(\*\*/|\*)", pattern.removeprefix("!"))
    return re.compile("".join(parts.get(piece, re.escape(piece)) for piece in pieces) + "(?:/|$)")
