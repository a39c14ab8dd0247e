"""Runs the command line: ``python -m openclaw_store``."""

from openclaw_store.cli import run

if __name__ == "__main__":
    run()
