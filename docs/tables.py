"""Writes the tables of the documents that say what the code says.

A table stands between ``<!-- table: NAME -->`` and ``<!-- end of table -->``. ``python docs/tables.py`` writes all of
them anew; the tests fail when one is out of date.
"""  # noqa: INP001

import inspect
import re
import sys
from collections import Counter
from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from pathlib import Path
from typing import Any, Final

import typer

from openclaw_store import Database, Policy, StateManager, errors
from openclaw_store.cli.app import app
from openclaw_store.domain.task import TRANSITIONS
from openclaw_store.engines import EngineOptions

DOCS: Final = Path(__file__).parent

_TABLE: Final = re.compile(r"(<!-- table: ([\w-]+) -->\n).*?(<!-- end of table -->)", re.DOTALL)
_ENTRY: Final = re.compile(r"^ {4}(?P<names>\w+(?:, \w+)*): (?P<text>.*(?:\n {8}.*)*)", re.MULTILINE)


def error_table() -> Iterator[str]:
    """Yield the rows of every error, parents before children."""
    yield from _row("error", "is a", "`code`", "try again", "what it means")
    yield from _row(*["---"] * 5)
    for kind in _descendants(errors.StoreError):
        parents = ", ".join(f"`{parent.__name__}`" for parent in kind.__bases__)
        again = "yes" if kind.retryable else "no"
        yield from _row(f"`{kind.__name__}`", parents, f"`{kind.code}`", again, _opening(kind))


def transition_table() -> Iterator[str]:
    """Yield a row for each status of a task, with the statuses that may follow."""
    yield from _row("from", "to")
    yield from _row("---", "---")
    for status, following in TRANSITIONS.items():
        names = ", ".join(f"`{after.value}`" for after in TRANSITIONS if after in following)
        yield from _row(f"`{status.value}`", names or "nothing: it is final")


def database_table() -> Iterator[str]:
    """Yield a row for each argument of Database."""
    yield from _settings(Database, _described(Database) | _described(EngineOptions))


def manager_table() -> Iterator[str]:
    """Yield a row for each argument of StateManager."""
    yield from _settings(StateManager, _described(StateManager))


def policy_table() -> Iterator[str]:
    """Yield a row for each field of Policy."""
    yield from _settings(Policy, _described(Policy))


def command_list() -> Iterator[str]:
    """Yield a section for each command: what it does, an example, and its own arguments and options."""
    shared = _shared_options()
    for words, command in _commands(typer.main.get_command(app), ()):
        yield from (f"## {' '.join(words)}", "", inspect.cleandoc(command.help), "")
        yield from ("```console", f"$ {command.epilog.removeprefix('Example: ')}", "```", "")
        described = list(_parameters(command))
        yield from _options([one for one in described if one not in shared])
        taken = {_flag(one) for one in described}
        if lacking := [_flag(one) for one in shared if _flag(one) not in taken]:
            yield from (f"It does not take {', '.join(lacking)}.", "")


def shared_table() -> Iterator[str]:
    """Yield a row for each option that nearly every command takes."""
    yield from _options(_shared_options())


TABLES: Final[Mapping[str, Callable[[], Iterable[str]]]] = {
    "errors": error_table,
    "transitions": transition_table,
    "database": database_table,
    "manager": manager_table,
    "policy": policy_table,
    "commands": command_list,
    "shared-options": shared_table,
}


def rendered(text: str) -> str:
    """Return a page with its tables written anew."""
    return _TABLE.sub(lambda found: "\n".join([found[1], *TABLES[found[2]](), "", found[3]]), text)


def pages() -> list[Path]:
    """Return every page of the documents."""
    return sorted(page for page in DOCS.rglob("*.md") if not {"_build", "dev"} & set(page.relative_to(DOCS).parts))


def _descendants(kind: type[errors.StoreError]) -> Iterator[type[errors.StoreError]]:
    yield kind
    for child in kind.__subclasses__():
        yield from _descendants(child)


def _opening(thing: Any) -> str:
    """Return the prose of a docstring, up to its first section."""
    return re.split(r"\n\n(?:Attributes|Args|Raises):", inspect.getdoc(thing) or "")[0]


def _described(thing: Any) -> dict[str, str]:
    """Return what a docstring's sections say about each name."""
    found = _ENTRY.finditer(inspect.getdoc(thing) or "")
    return {name: entry["text"] for entry in found for name in entry["names"].split(", ")}


def _settings(thing: Any, described: Mapping[str, str]) -> Iterator[str]:
    yield from _row("name", "default", "what it does")
    yield from _row("---", "---", "---")
    for parameter in inspect.signature(thing).parameters.values():
        yield from _row(f"`{parameter.name}`", _default(parameter), described[parameter.name])


def _default(parameter: inspect.Parameter) -> str:
    if parameter.default is parameter.empty:
        return "none: it must be given"
    if callable(parameter.default):
        return f"`{parameter.default.__module__}.{parameter.default.__qualname__}`"
    return f"`{parameter.default!r}`"


def _commands(group: Any, words: tuple[str, ...]) -> Iterator[tuple[tuple[str, ...], Any]]:
    """Yield every command that does something, by the words that call it."""
    for name, command in group.commands.items():
        if hasattr(command, "commands"):
            yield from _commands(command, (*words, name))
        elif not command.hidden:
            yield (*words, name), command


def _shared_options() -> list[tuple[str, str]]:
    """Return the options that more than half of the commands take, described alike."""
    commands = [list(_parameters(command)) for _, command in _commands(typer.main.get_command(app), ())]
    counts = Counter(one for described in commands for one in described)
    return [one for one, count in counts.items() if count > len(commands) / 2]


def _flag(described: tuple[str, str]) -> str:
    return f"`{described[0].split()[0]}`"


def _options(described: Sequence[tuple[str, str]]) -> Iterator[str]:
    """Yield the rows of arguments and options; nothing when there are none."""
    if described:
        yield from (*_row("argument or option", "what it does"), *_row("---", "---"))
        for name, meaning in described:
            yield from _row(f"`{name}`", meaning)
        yield ""


def _parameters(command: Any) -> Iterator[tuple[str, str]]:
    """Yield the name and the meaning of each argument and option, as ``--help`` describes them."""
    context = command.context_class(command)
    return (_parameter(one, context) for one in command.params if not getattr(one, "hidden", False))


def _parameter(parameter: Any, context: Any) -> tuple[str, str]:
    name, meaning = parameter.get_help_record(context)
    if parameter.param_type_name == "argument":
        return name.split()[0] + ("..." if parameter.nargs < 0 else ""), meaning
    for pattern, plain in (
        (r"<([\w|]+\|\w+)>", r"\1"),
        (r"<(int|float).*>", "N"),
        (r"<str>", "TEXT"),
        (r"<path>", "PATH"),
    ):
        name = re.sub(pattern, plain, name)
    return name, meaning


def _row(*cells: str) -> Iterator[str]:
    plain = (" ".join(cell.replace("``", "`").replace("|", r"\|").split()) for cell in cells)
    yield f"| {' | '.join(plain)} |"


def main() -> None:
    """Write every table of every page anew."""
    for page in pages():
        before = page.read_text(encoding="utf-8")
        after = rendered(before)
        if after != before:
            page.write_text(after, encoding="utf-8")
            sys.stdout.write(f"{page.relative_to(DOCS)} has new tables\n")


if __name__ == "__main__":
    main()
