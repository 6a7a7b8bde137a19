"""Formats at the send: what the worker's pydantic takes passes, what it never does is refused."""

from __future__ import annotations

import datetime as dt
import uuid

import pytest

from dispatch.core.json_values import plain
from dispatch.core.schema.parameters import Parameters
from dispatch.exceptions import InvalidArguments

UUID = "0190f3a2-0000-7000-8000-000000000000"
MOMENT = dt.datetime.fromisoformat("2026-11-28T09:30:15.123456")


def check(name, value):
    Parameters({"properties": {"a": {"type": "string", "format": name}}}).check([], {"a": value})


@pytest.mark.parametrize(
    ("name", "value"),
    [
        *(("uuid", text) for text in (UUID, UUID.upper(), UUID.replace("-", ""), f"urn:uuid:{UUID}", f"{{{UUID}}}")),
        ("uuid7", UUID), ("uuid4", str(uuid.UUID(int=0, version=4))),
        *(("date-time", text) for text in (
            "2026-11-28T09:30:15Z", "2026-11-28t09:30:15z", "2026-11-28 09:30", "2026-11-28_09:30:15.1234567",
            "2026-11-28T09:30:15+0100", "2026-11-28", "1764322215", "1764322215.5")),
        *(("date", text) for text in ("2026-11-28", "2026-11-28T00:00:00", "2026-11-28T00:00:00Z", "1764288000")),
        *(("time", text) for text in ("09:30", "09:30:15.5", "09:30:15+01:00", "09:30:15Z", "3600")),
        *(("duration", text) for text in ("P1DT2H", "1 day, 2:00:00", "-PT1S", "3600")),
        *(("decimal", text) for text in ("1.50", "-1E+5", " 7 ")),
        ("ipv4", "10.0.0.1"), ("ipv6", "fe80::1%eth0"), ("ipv4network", "10.0.0.0/8"), ("ipvanyaddress", "::1"),
        ("email", "müller@exämple.de"), ("uri", "https://exämple.de/ü x"), ("uri", "mailto:a"),
        ("regex", r"(?P<a>x)\Z"),
        ("uri-reference", ""), ("binary", "\x00"), ("a format of their own", "x"),
    ],
)  # fmt: skip
def test_what_pydantic_takes_passes(name, value):
    check(name, value)


@pytest.mark.parametrize(
    ("name", "value"),
    [
        ("uuid", "1"), ("uuid", ""), ("uuid", UUID + "0"), ("uuid4", UUID), ("date-time", "now"),
        ("date-time", "28.11.2026"), ("date-time", "2026-13-01T00:00:00"), ("date", "2026-11-31"),
        ("date", "2026-11-28T09:30:00"), ("time", "25:00"), ("time", "noon"), ("duration", "long"), ("decimal", "1,5"),
        ("decimal", "NaN"), ("decimal", ""), ("ipv4", "10.0.0.256"), ("ipv4", "::1"), ("ipv6", "10.0.0.1"),
        ("ipv4network", "10.0.0.0/33"), ("ipv4network", "10.0.0.1/8"),
        ("email", "müller"), ("email", "@x"), ("uri", "/path"), ("uri", "exämple.de"),
    ],
)  # fmt: skip
def test_what_no_worker_takes_is_refused(name, value):
    with pytest.raises(InvalidArguments, match=f"is not of format '{name}'"):
        check(name, value)


@pytest.mark.parametrize(
    ("name", "value"),
    [
        ("date-time", MOMENT), ("date-time", MOMENT.replace(tzinfo=dt.UTC)), ("date-time", MOMENT.date()),
        ("date", MOMENT.date()), ("time", MOMENT.time()), ("uuid", uuid.UUID(UUID)),
    ],
    ids=repr,
)  # fmt: skip
def test_what_a_sender_gives_as_an_object_passes_as_its_text(name, value):
    check(name, plain(value))


def test_a_format_asks_nothing_of_what_is_no_text():
    Parameters({"properties": {"a": {"format": "uuid"}}}).check([], {"a": 5})
