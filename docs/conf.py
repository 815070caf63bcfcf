"""Configuration of Sphinx: MyST pages, and the API reference from docstrings."""

import xml.etree.ElementTree as ElementTree
from pathlib import Path

ROOT = Path(__file__).resolve().parent.parent

project = "cista_ros"
author = "cista_ros authors"
copyright = author
release = ElementTree.parse(ROOT / "package.xml").findtext("version")

extensions = ["myst_parser", "sphinx.ext.autodoc", "sphinx.ext.napoleon"]
myst_heading_anchors = 3
myst_enable_extensions = ["attrs_block", "colon_fence"]

autodoc_member_order = "bysource"
autodoc_typehints = "description"
autodoc_typehints_description_target = "documented"
autoclass_content = "both"
add_module_names = False
napoleon_use_ivar = True
default_role = "literal"  # `name` in docstrings

html_theme = "furo"
html_title = f"cista_ros {release}"
