"""Sphinx configuration; `make docs` builds docs/_build/html."""

from __future__ import annotations

import os
import sys
from pathlib import Path

import django

sys.path.insert(0, str(Path(__file__).resolve().parents[1]))
os.environ.setdefault("DJANGO_SETTINGS_MODULE", "project.settings")
django.setup()  # the reference of the API is made from the docstrings

from dispatch import __version__  # noqa: E402

project = "django-celery-dispatch"
author = "The django-celery-dispatch developers"
project_copyright = author
release = version = __version__

extensions = ["myst_parser", "sphinx.ext.autodoc"]
exclude_patterns = ["_build"]
myst_heading_anchors = 3

html_theme = "furo"
html_title = "django-celery-dispatch"

autodoc_member_order = "bysource"
autodoc_typehints = "signature"
