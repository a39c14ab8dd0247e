"""The wheel carries the scripts, so an installed package can upgrade a database."""

import subprocess
import sys
import venv
import zipfile
from pathlib import Path

import pytest
import sqlalchemy

from migrations.support import CHECKOUT, SECONDS, schema_of, schema_of_models
from openclaw_store import migrations

PROGRAM = """
import asyncio, sys
import openclaw_store
from openclaw_store import migrations
from openclaw_store.engines import make_engine

async def main():
    engine = make_engine(sys.argv[1])
    await engine.open()
    try:
        await migrations.upgrade(engine)
        await migrations.require_current(engine)
        print(openclaw_store.__file__, migrations.scripts(), await migrations.current_revision(engine), sep="\\n")
    finally:
        await engine.close()

asyncio.run(main())
"""


@pytest.fixture(scope="module")
def wheel(tmp_path_factory: pytest.TempPathFactory) -> Path:
    folder = tmp_path_factory.mktemp("wheel")
    subprocess.run(
        [sys.executable, "-m", "hatchling", "build", "-t", "wheel", "-d", str(folder)],
        cwd=CHECKOUT,
        check=True,
        capture_output=True,
        timeout=SECONDS,
    )
    return next(folder.glob("openclaw_store-*.whl"))


def test_the_wheel_holds_every_script_and_nothing_else_of_the_folder(wheel: Path) -> None:
    scripts = CHECKOUT / "alembic"
    expected = {
        f"openclaw_store/_migrations/{file.relative_to(scripts).as_posix()}"
        for file in scripts.rglob("*")
        if file.suffix in {".py", ".mako"}
    }
    held = {name for name in zipfile.ZipFile(wheel).namelist() if "_migrations/" in name}
    assert held == expected


def test_a_fresh_installation_upgrades_a_database(wheel: Path, tmp_path: Path, path: Path) -> None:
    home = tmp_path / "100% fresh"  # both characters mean something to somebody
    venv.create(home, with_pip=False, symlinks=True)
    python = home / "bin" / "python"
    site = home / "lib" / f"python{sys.version_info.major}.{sys.version_info.minor}" / "site-packages"
    with zipfile.ZipFile(wheel) as archive:
        archive.extractall(site)
    # The dependencies are borrowed. A .pth file inside a borrowed folder is not read, so the checkout stays unseen.
    (site / "borrowed.pth").write_text(str(Path(sqlalchemy.__file__).parents[1]))
    ended = subprocess.run(
        [python, "-I", "-W", "error", "-c", PROGRAM, str(path)],
        cwd=tmp_path,
        capture_output=True,
        text=True,
        check=False,
        timeout=SECONDS,
    )
    assert ended.returncode == 0, ended.stderr
    *_, package, scripts, revision = ended.stdout.splitlines()
    assert Path(package) == site / "openclaw_store" / "__init__.py"
    assert Path(scripts) == site / "openclaw_store" / "_migrations"
    assert revision == migrations.expected_revision()
    schema = schema_of(path)
    del schema[migrations.VERSION_TABLE]
    assert schema == schema_of_models(tmp_path / "models.db")
