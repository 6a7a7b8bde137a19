"""What a ``format`` asks of a text at the send: no less than pydantic takes in the worker for the annotation behind it.

JSON Schema's own rules are narrower: its ``date-time`` names a time zone, its ``email`` is ASCII. Formats that do not
stand here are judged as jsonschema-rs has them; those that it does not know are remarks.
"""

from __future__ import annotations

import datetime as dt
import ipaddress
import re
import uuid
from collections.abc import Callable
from decimal import Decimal
from functools import partial
from typing import Any

#: Seconds since 1970, or since midnight.
NUMBER = re.compile(r"[+-]?(\d+\.?\d*|\.\d+)")
SCHEME = re.compile(r"[\x00-\x20]*[A-Za-z][A-Za-z0-9+.\t\n\r-]*:")


def _reads(convert: Callable[[str], Any]) -> Callable[[str], bool]:
    def check(text: str) -> bool:
        try:
            return convert(text) is not False  # what is read may be zero
        except (ValueError, ArithmeticError):
            return False

    return check


def _moment(text: str) -> Any:
    return NUMBER.fullmatch(text) or dt.datetime.fromisoformat(_upper(text))


def _day(text: str) -> Any:
    return NUMBER.fullmatch(text) or dt.datetime.fromisoformat(_upper(text)).time() == dt.time()


def _time(text: str) -> Any:
    return NUMBER.fullmatch(text) or dt.time.fromisoformat(_upper(text))


def _upper(text: str) -> str:
    return text.upper().replace("\N{MINUS SIGN}", "-")


def _uuid(text: str, version: int) -> bool:
    return uuid.UUID(text).version == version


FORMATS: dict[str, Callable[[str], bool]] = {
    "date-time": _reads(_moment),
    "date": _reads(_day),
    "time": _reads(_time),
    "duration": _reads(lambda text: any(map(str.isdigit, text))),  # P1D, 1 day 02:00:00, 3600
    "uuid": _reads(uuid.UUID),
    **{f"uuid{version}": _reads(partial(_uuid, version=version)) for version in range(1, 9)},
    "decimal": _reads(lambda text: Decimal(text.strip()).is_finite()),
    "ipv4": _reads(ipaddress.IPv4Address),
    "ipv6": _reads(ipaddress.IPv6Address),
    "ipv4network": _reads(ipaddress.IPv4Network),
    "ipv6network": _reads(ipaddress.IPv6Network),
    "ipv4interface": _reads(ipaddress.IPv4Interface),
    "ipv6interface": _reads(ipaddress.IPv6Interface),
    "ipvanyaddress": _reads(ipaddress.ip_address),
    "ipvanynetwork": _reads(ipaddress.ip_network),
    "ipvanyinterface": _reads(ipaddress.ip_interface),
    "email": _reads(lambda text: "@" in text.strip()[1:-1]),
    "uri": _reads(lambda text: SCHEME.match(text) is not None),
    # Python's own, and what a worker may take in any form.
    **dict.fromkeys(("regex", "idn-email", "iri", "iri-reference", "uri-reference"), _reads(len)),
}
