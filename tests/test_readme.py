"""The README's code runs as it stands."""

import asyncio
import re
import textwrap
from pathlib import Path

import pytest

README = Path(__file__).parents[1] / "README.md"


def test_the_code_of_the_readme_runs(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    blocks = re.findall(r"```python\n(.*?)```", README.read_text(), re.DOTALL)
    assert blocks
    monkeypatch.chdir(tmp_path)
    for block in blocks:
        scope: dict[str, object] = {}
        exec("async def example():\n" + textwrap.indent(block, "    ") + "    return task", scope)
        example = scope["example"]
        assert callable(example)
        assert asyncio.run(example()).name == "data_processing"
