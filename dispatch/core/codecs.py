"""The serializers and compressions that a message may ask for, by kombu's names, and whether they are installed."""

from __future__ import annotations

import sys
from functools import lru_cache
from importlib.util import find_spec

DEFAULT_SERIALIZER = "json"
#: Each with the modules of which kombu needs one. pickle is none of them: reading it runs code.
SERIALIZERS: dict[str, tuple[str, ...]] = {"json": (), "yaml": ("yaml",), "msgpack": ("msgpack",)}
COMPRESSIONS: dict[str, tuple[str, ...]] = {
    "brotli": ("brotli", "brotlicffi"),
    "bzip2": ("bz2",),
    "gzip": ("zlib",),
    "lzma": ("lzma",),
    "zlib": ("zlib",),
    "zstd": ("compression.zstd" if sys.version_info >= (3, 14) else "backports.zstd",),
}
#: What Python's own library does not have: the extras of this package.
EXTRAS = ("brotli", "msgpack", "yaml", "zstd")


def absence(name: str) -> str:
    """Return what a serializer or compression lacks and how to get it, "" where it can be used."""
    modules = (SERIALIZERS | COMPRESSIONS)[name]
    if not modules or any(is_installed(module) for module in modules):
        return ""
    remedy = f"pip install 'django-celery-dispatch[{name}]'" if name in EXTRAS else "use a Python that has it"
    return f"{name} is not installed here: {remedy}, or choose another"


@lru_cache
def is_installed(module: str) -> bool:
    """Tell whether a module can be found, without importing more than its package."""
    try:
        return find_spec(module) is not None
    except ModuleNotFoundError:  # not even its package
        return False
