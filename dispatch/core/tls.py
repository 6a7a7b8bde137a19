"""Whether TLS to a broker or result backend verifies with whom it speaks, as kombu and Celery read their settings."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any
from urllib.parse import parse_qsl

AMQP = frozenset({"amqp", "amqps", "pyamqp"})
REDIS = frozenset({"redis", "rediss", "sentinel"})
#: What Python's ssl, redis-py and Celery call a certificate that nobody looks at.
UNVERIFIED = frozenset({"none", "cert_none", "0"})


def lack(url: str, use_ssl: Any, setting: str) -> str:
    """Say why a connection with this URL and this value of Celery's ``setting`` verifies nobody; empty if it does.

    Empty too where neither asks for TLS.
    """
    scheme, _, rest = url.partition("://")
    options = dict(use_ssl) if isinstance(use_ssl, Mapping) else {}
    if scheme in AMQP:
        required = options.get("cert_reqs") is None  # py-amqp's default
        return "" if required else _unverified("cert_reqs", options["cert_reqs"])
    if scheme not in REDIS:
        return ""
    options |= {name: value for name, value in parse_qsl(rest.partition("?")[2]) if name.startswith("ssl_")}
    if use_ssl and not options:
        return f"{setting} is no dictionary with ssl_cert_reqs, so that kombu speaks to Redis without TLS"
    if scheme == "rediss" and not options:
        return (
            "a rediss:// URL without ssl_cert_reqs verifies no certificate, and Celery refuses it for results"
        )
    return _unverified("ssl_cert_reqs", options.get("ssl_cert_reqs", "required"))


def advice(url: str) -> str:
    """Return what to add to the error of a URL that cannot be used; empty unless it is one of Redis over TLS."""
    needs = "Over TLS it must say ssl_cert_reqs: rediss://host:6379/0?ssl_cert_reqs=required (or optional, or none)."
    return f" {needs}" if url.startswith("rediss://") else ""


def _unverified(name: str, value: Any) -> str:
    word = str(getattr(value, "name", value)).lower()
    return f"{name} is {word!r}, so that no certificate is verified" if word in UNVERIFIED else ""
