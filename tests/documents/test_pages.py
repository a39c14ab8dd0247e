"""What the pages show is true: their code runs, their tables and their commands are those of the library."""

import re
import runpy
from pathlib import Path
from typing import Any, Final

import pytest

from documents.support import DOCS, PAGES, blocks_of, languages_of, name_of, run
from openclaw_store.domain import checks
from openclaw_store.repositories.placement import CLAIM_LIMIT

LANGUAGES: Final = {"python", "console", "text", "ini", "sql", "{eval-rst}", "{toctree}", "{raw}"}
TABLES: Final[dict[str, Any]] = runpy.run_path(str(DOCS / "tables.py"))


@pytest.mark.parametrize("page", PAGES, ids=name_of)
async def test_the_code_of_a_page_runs_and_prints_what_it_says(
    page: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.chdir(tmp_path)
    await run(blocks_of(page))


@pytest.mark.parametrize("page", PAGES, ids=name_of)
def test_no_code_of_a_page_escapes_the_tests(page: Path) -> None:
    blocks = blocks_of(page)
    assert languages_of(page).count("python") == len(blocks)
    assert set(languages_of(page)) <= LANGUAGES
    for block in blocks:
        assert block.reason is None or block.reason, f"{block.place} does not say why it is not run"


@pytest.mark.parametrize("page", PAGES, ids=name_of)
def test_the_tables_of_a_page_say_what_the_code_says(page: Path) -> None:
    text = page.read_text(encoding="utf-8")
    assert TABLES["rendered"](text) == text, "run: python docs/tables.py"


def test_every_table_stands_in_some_page() -> None:
    everything = "".join(page.read_text(encoding="utf-8") for page in PAGES)
    for name in TABLES["TABLES"]:
        assert f"<!-- table: {name} -->" in everything


def test_the_limits_of_the_settings_page_are_those_of_the_code() -> None:
    text = (DOCS / "settings.md").read_text(encoding="utf-8")
    rows = dict(re.findall(r"^\| ([^|`]+?) \| ([^|]+?) \|$", text, re.MULTILINE))
    assert rows["ids, names of skills, tags and users, idempotency keys"] == f"1 to {checks.MAX_ID} characters"
    assert rows["skills of a task or a node, tags"] == f"{checks.MAX_SET} each"
    assert rows["tasks in one claim"] == f"1 to {CLAIM_LIMIT}"
    assert f"| {checks.MAX_NAME} characters |" in text
    assert f"| {checks.MAX_TEXT} characters |" in text


async def test_a_page_that_is_wrong_is_found(tmp_path: Path) -> None:
    page = tmp_path / "page.md"
    page.write_text("```python\nprint(1)\n```\n\n```text\n2\n```\n")
    with pytest.raises(AssertionError, match="prints:\n1"):
        await run(blocks_of(page))
    page.write_text("<!-- not run: it needs a cluster -->\n\n```python\n1 / 0\n```\n")
    await run(blocks_of(page))
    page.write_text("Some text.\n\n```python\nimport asyncio\nawait asyncio.sleep(0)\n1 / 0\n```\n")
    with pytest.raises(ZeroDivisionError) as error:
        await run(blocks_of(page))
    assert error.traceback[-1].lineno == 5
