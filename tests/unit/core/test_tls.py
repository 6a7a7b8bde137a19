from __future__ import annotations

import ssl

import pytest

from dispatch.core import tls

REQUIRED, NONE = ssl.CERT_REQUIRED, ssl.CERT_NONE


@pytest.mark.parametrize(
    ("url", "use_ssl"),
    [
        ("redis://host/0", None),
        ("rediss://host/0?ssl_cert_reqs=required", None),
        ("rediss://host/0?ssl_cert_reqs=CERT_OPTIONAL", None),
        ("rediss://host/0?ssl_ca_certs=/ca.pem", None),
        ("rediss://host/0", {"ssl_cert_reqs": REQUIRED}),
        ("rediss://host/0", {"ssl_ca_certs": "/ca.pem"}),
        ("rediss://host/0?ssl_cert_reqs=required", {"ssl_cert_reqs": NONE}),
        ("amqp://host//", None),
        ("amqps://host//", None),
        ("amqp://host//", True),
        ("amqps://host//", {"cert_reqs": REQUIRED}),
        ("amqps://host//", {"cert_reqs": None}),
        ("sqs://", {"cert_reqs": NONE}),
        ("", None),
    ],
)
def test_nothing_is_said_of_what_is_verified_or_no_tls(url, use_ssl):
    assert tls.lack(url, use_ssl, "broker_use_ssl") == ""


@pytest.mark.parametrize(
    ("url", "use_ssl", "reason"),
    [
        ("rediss://host/0", None, "without ssl_cert_reqs"),
        ("rediss://host/0?timeout=5", {}, "without ssl_cert_reqs"),
        ("rediss://host/0?ssl_cert_reqs=none", None, "ssl_cert_reqs is 'none'"),
        (
            "rediss://host/0?ssl_cert_reqs=CERT_NONE",
            {"ssl_cert_reqs": REQUIRED},
            "ssl_cert_reqs is 'cert_none'",
        ),
        ("redis://host/0", {"ssl_cert_reqs": NONE}, "ssl_cert_reqs is 'cert_none'"),
        ("sentinel://a;sentinel://b", {"ssl_cert_reqs": None}, "ssl_cert_reqs is 'none'"),
        ("rediss://host/0", True, "broker_use_ssl is no dictionary"),
        ("amqps://host//", {"cert_reqs": NONE}, "cert_reqs is 'cert_none'"),
        ("amqp://host//", {"cert_reqs": 0}, "cert_reqs is '0'"),
    ],
)
def test_what_verifies_nobody_is_told_with_the_setting_to_blame(url, use_ssl, reason):
    assert reason in tls.lack(url, use_ssl, "broker_use_ssl")


def test_advice_is_for_redis_over_tls_alone():
    assert "ssl_cert_reqs=required" in tls.advice("rediss://host/0")
    assert tls.advice("redis://host/0") == tls.advice("amqps://host//") == ""
