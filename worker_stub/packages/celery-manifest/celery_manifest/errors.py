"""The one error of this package."""

from __future__ import annotations


class ManifestError(ValueError):
    """The app cannot be described, or says something of itself that cannot be true."""
