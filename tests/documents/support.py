"""Reads the documents: their code, what the code prints, and the commands that they show."""

import ast
import contextlib
import inspect
import io
import re
from collections.abc import Iterator
from pathlib import Path
from types import CodeType
from typing import Any, Final

import msgspec
from structlog.testing import capture_logs

ROOT: Final = Path(__file__).parents[2]
DOCS: Final = ROOT / "docs"
PAGES: Final = [
    ROOT / "README.md",
    *sorted(page for page in DOCS.rglob("*.md") if not {"_build", "dev"} & set(page.relative_to(DOCS).parts)),
]

_BLOCK: Final = re.compile(
    r"(?P<excuse><!-- not run:(?P<reason>[^\n]*?)-->\n\s*)?"
    r"^```python\n(?P<code>.*?)^```\n"
    r"(?:\n*^```text\n(?P<printed>.*?)^```$)?",
    re.DOTALL | re.MULTILINE,
)
_FENCE: Final = re.compile(r"^```+([^\s`]*)[^\n]*\n.*?^```+$", re.DOTALL | re.MULTILINE)


class Block(msgspec.Struct, frozen=True):
    """A block of Python in a page.

    Attributes:
        line: where it begins.
        printed: what the page says that it prints; None: the page does not say.
        reason: why it is not run; None: it is.
    """

    page: Path
    line: int
    code: str
    printed: str | None
    reason: str | None

    def compiled(self) -> CodeType:
        """Return the code, whose tracebacks name the page and the line."""
        code: CodeType = compile("\n" * self.line + self.code, self.page, "exec", flags=ast.PyCF_ALLOW_TOP_LEVEL_AWAIT)
        return code

    @property
    def place(self) -> str:
        return f"{self.page.name}:{self.line}"


def name_of(page: Path) -> str:
    return str(page.relative_to(ROOT))


def blocks_of(page: Path) -> list[Block]:
    """Return a page's blocks of Python, in order."""
    text = page.read_text(encoding="utf-8")
    return [
        Block(
            page,
            text.count("\n", 0, found.start("code")),
            found["code"],
            found["printed"],
            None if found["excuse"] is None else found["reason"].strip(),
        )
        for found in _BLOCK.finditer(text)
    ]


def languages_of(page: Path) -> list[str]:
    """Return the language of every fenced block of a page."""
    return _FENCE.findall(page.read_text(encoding="utf-8"))


def commands_of(page: Path) -> Iterator[str]:
    """Yield the commands that a page shows after a prompt, continued lines joined."""
    for block in re.findall(r"^```console\n(.*?)^```$", page.read_text(encoding="utf-8"), re.DOTALL | re.MULTILINE):
        for line in block.replace("\\\n", " ").splitlines():
            if line.startswith("$ "):
                yield line.removeprefix("$ ")


async def run(blocks: list[Block]) -> None:
    """Run blocks in order, in one namespace and one loop; what one prints must be what the page says."""
    scope: dict[str, Any] = {"__name__": "__main__"}
    for block in blocks:
        if block.reason is None:
            with capture_logs(), contextlib.redirect_stdout(io.StringIO()) as printed:
                outcome = eval(block.compiled(), scope)
                if inspect.iscoroutine(outcome):
                    await outcome
            if block.printed is not None:
                assert printed.getvalue() == block.printed, f"{block.place} prints:\n{printed.getvalue()}"
