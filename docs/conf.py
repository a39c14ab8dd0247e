"""How Sphinx builds these pages; nothing is fetched while it does."""  # noqa: INP001

from importlib.metadata import version as installed_version
from typing import Any, Final

project = "openclaw_store"
author = "the OpenClaw authors"
release = version = installed_version("openclaw-store")

extensions = ["myst_parser", "sphinx.ext.autodoc", "sphinx.ext.napoleon"]
source_suffix = {".md": "markdown"}
exclude_patterns = ["_build", "dev"]
smartquotes = False  # it makes dashes of the options of commands

html_theme = "furo"
html_title = "openclaw_store"
html_copy_source = False
html_show_sphinx = False

myst_enable_extensions = ["colon_fence", "deflist", "fieldlist"]
myst_heading_anchors = 3

autodoc_member_order = "bysource"
autodoc_typehints = "signature"
autodoc_typehints_format = "short"
autodoc_preserve_defaults = True
maximum_signature_line_length = 88
napoleon_numpy_docstring = False
napoleon_use_ivar = True  # an attribute of its own for each field would be listed twice
python_use_unqualified_type_names = True

pygments_style: Final = "friendly"


def begin_with_nothing(_app: Any, what: str, _name: str, _thing: Any, _options: Any, lines: list[str]) -> None:
    """Keep napoleon from taking what stands before a colon, in an attribute's docstring, for its type."""
    if what in {"attribute", "property"}:
        lines.insert(0, "\\ ")  # an escaped space: a line that reStructuredText drops


def setup(app: Any) -> None:
    """Let Sphinx call the function above before napoleon."""
    app.connect("autodoc-process-docstring", begin_with_nothing, priority=400)
