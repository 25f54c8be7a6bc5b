"""docs/test_recipe.py, the recipe for tests in other projects, works as it is."""

import os
import re
import shutil
import subprocess
import sys

from config.settings import ROOT

RECIPE = ROOT / "docs" / "test_recipe.py"


def test_the_recipe_passes_twice_in_a_row_in_another_project(tmp_path):
    shutil.copy(RECIPE, tmp_path)
    environment = {"PATH": os.environ["PATH"], "PYTHONPATH": str(ROOT)}
    command = [sys.executable, "-m", "pytest", "-p", "no:cacheprovider", "--durations=0", RECIPE.name]  # fmt: skip  # noqa: E501

    for _ in range(2):
        done = subprocess.run(
            command, env=environment, cwd=tmp_path, capture_output=True, text=True, timeout=60
        )
        assert done.returncode == 0, done.stdout
        assert "3 passed" in done.stdout


def test_the_readme_names_the_recipe():
    readme = (ROOT / "README.md").read_text()

    section = readme.partition("## In your own tests")[2].partition("\n## ")[0]
    assert "docs/test_recipe.py" in section
    # The lines that the README shows are lines of the file.
    recipe = {line.strip() for line in RECIPE.read_text().splitlines()}
    for block in re.findall(r"```python\n(.*?)```", section, re.DOTALL):
        for line in filter(None, map(str.strip, block.splitlines())):
            assert line in recipe, line
