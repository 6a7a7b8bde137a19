from __future__ import annotations

import json
from urllib.parse import quote, urlsplit

import pytest
from hypothesis import example, given
from hypothesis import strategies as st

from dispatch.core import redaction
from dispatch.core.broker_urls import flaw, secrets_of
from dispatch.core.redaction import redact

texts = st.text(st.characters(codec="utf-8"), max_size=12)
schemes = st.sampled_from(
    ["redis", "rediss", "amqp", "pyamqp", "sentinel", "mongodb", "db+postgresql", "db+mysql+pymysql", "sqs"]
)
#: What surrounds a URL, or stands in it, by a slip.
SLIPS = [
    " {scheme}://user:{password}@host:6379/0",
    "{scheme}://user:{password}@host:6379/0\n",
    "{scheme}:///user:{password}@host:6379/0",
    "{scheme}:///:{password}@host:6379/0",
    "{scheme}:////:{password}@host:6379/0",
    "{scheme}://host:6379/user:{password}@0",
    "{scheme}://host:6379/:{password}@0",
    "{scheme}://host:6379/0?user:{password}@0",
    "{scheme}:/:{password}@host:6379/0",
    "{scheme}:user:{password}@host:6379/0",
    "user:{password}@host:6379/0",
]
#: Those that hold no @, unless the password does: then it is the end of the password that looks like a host.
WITHOUT_AT = ["{scheme}://host:6379/0#:{password}", "{scheme}://host:{password}/0", "{scheme}://:{password}"]
#: A password is cut where one of these stands in it, not percent-encoded.
CUTS = "@:/?#;[] %&=,"
PIECES = ("s3cr3t", "Pa55w0rd", "x1Y2")
passwords = st.lists(st.sampled_from(CUTS), min_size=2, max_size=2).map(
    lambda cuts: f"{PIECES[0]}{cuts[0]}{PIECES[1]}{cuts[1]}{PIECES[2]}"
)
slips = st.one_of(
    st.tuples(st.sampled_from(SLIPS), passwords),
    st.tuples(st.sampled_from(WITHOUT_AT), passwords.filter(lambda password: "@" not in password)),
)


@given(schemes, texts, texts)
def test_a_url_whose_user_and_password_are_percent_encoded_has_no_flaw(scheme, user, password):
    assert flaw(f"{scheme}://{quote(user, safe='')}:{quote(password, safe='')}@host:6379/0") == ""


@given(schemes, texts)
@example("redis", ";x://")
@example("redis", "12/34")
@example("redis", "a;b")
@example("amqp", "p@ss")
@example("amqp", "℀")
def test_what_has_no_flaw_is_read_as_it_is_meant(scheme, password):
    url = f"{scheme}://user:{password}@host:6379/0"
    if not flaw(url):
        parts = urlsplit(url)
        read = parts.username, parts.password or "", parts.hostname, parts.port, parts.path
        assert read == ("user", password, "host", 6379, "/0")
        assert not set(password) & set("@/?#;")


@given(schemes, slips)
def test_each_slip_is_a_flaw_that_quotes_nothing(scheme, slip):
    shape, password = slip
    found = flaw(shape.format(scheme=scheme, password=password))
    assert found
    assert not survivors(found)


@pytest.mark.parametrize(
    "url",
    [
        "redis://:pw@host:6379/0",
        "redis://",
        "redis:///0",
        "redis+socket:///run/r@dis.sock",
        "rediss://host:6379/0?ssl_cert_reqs=required",
        "amqp://guest:guest@host//",
        "amqp://me:p:w@host/v%40w",
        "amqp://u:p@[::1]:5672//",
        "amqp://a;amqp://b",
        "amqp://a:1;b:2",
        "sentinel://:p@a:26379/0;sentinel://:p@b:26379/0",
        "mongodb://u:p@a:27017,b:27017/db?replicaSet=x",
        "cache+memcached://a:11211;b:11211/",
        "db+sqlite:////var/my files/me@home#1.db",
        "db+postgresql+psycopg://u:p@/db?host=/run",
        "file:///var/results",
        "sqs://key:secret@",
        "dynamodb://@localhost:8000/table",
        "azureservicebus://Policy:k/e+y=@namespace",
        "azureblockblob://DefaultEndpointsProtocol=https;AccountName=x;AccountKey=k/e==;EndpointSuffix=y",
        "memory://",
        "django-db",
        "tests.support.result_backends.OneByOne",
        "",
    ],
)
def test_what_libraries_read_without_doubt_has_no_flaw(url):
    assert flaw(url) == ""


@pytest.fixture
def configured(monkeypatch):
    """Return a function that lets the gate know some settings alone."""
    return lambda given: monkeypatch.setattr(redaction, "_configured", lambda: list(secrets_of(given)))


def survivors(text):
    return [piece for piece in PIECES if piece.lower() in text.lower()]


def quoted_by_libraries(url):
    """Return the pieces of a URL that Python's own parser makes, as libraries do, and what it says where it fails."""
    yield url
    try:
        parts = urlsplit(url.strip())
        yield from (parts.netloc, parts.path, parts.path[1:], parts.query, parts.fragment)
        yield from (parts.username or "", parts.password or "", parts.hostname or "")
        yield str(parts.port)
    except ValueError as error:
        yield str(error)


@given(schemes, st.one_of(slips, st.tuples(st.just("{scheme}://user:{password}@host:6379/0"), passwords)))
def test_no_piece_of_a_password_survives_however_the_url_is_cut(configured, scheme, shaped):
    shape, password = shaped
    url = shape.format(scheme=scheme, password=password)
    configured({"URL": url})
    for text in quoted_by_libraries(url):
        for said in (f"connect to {text}:6379", repr(text), json.dumps(text), quote(text), text.upper()):
            assert not survivors(redact(said)), said


@pytest.mark.parametrize(
    "settings",
    [
        {"BROKERS": {"default": {"URL": "amqp://user:{}@host//"}}},
        {
            "BROKERS": {
                "default": {"URL": "amqp://host//", "CONF": {"broker_transport_options": {"password": "{}"}}}
            }
        },
        {
            "BROKERS": {
                "default": {
                    "CONF": {"result_backend_transport_options": {"sentinel_kwargs": {"password": "{}"}}}
                }
            }
        },
        {
            "BROKERS": {
                "default": {
                    "CONF": {
                        "broker_transport_options": {"predefined_queues": {"q": {"secret_access_key": "{}"}}}
                    }
                }
            }
        },
        {"BROKERS": {"default": {"CONF": {"broker_read_url": "redis://:{}@host"}}}},
        {"BROKERS": {"default": {"CONF": {"urls": ("redis://host?password={}",)}}}},
        {"BROKERS": ["redis://:{}@host"]},
        "redis://:{}@host",
        {"default": {"PASSWORD": "{}"}},
        {"default": {"OPTIONS": {"sslpassword": "{}"}}},
        {"default": {"NAME": "host=h password={} dbname=x"}},
        {"URL": "redis://{}@host"},
        {"URL": "db+mssql+pyodbc:///?odbc_connect=DRIVER%3Dx%3BPWD%3D{}%3BUID%3Dme"},
        {"URL": "azureblockblob://AccountName=x;AccountKey={};EndpointSuffix=y"},
    ],
    ids=str,
)
@pytest.mark.parametrize("written", ["s3cr3t", "s3 cr3t'\"\\", "s3%40cr3t"])
def test_credentials_are_found_wherever_they_are_configured(settings, written, configured):
    secret = quote(written, safe="%") if "://" in str(settings) or "dbname" in str(settings) else written
    configured(json.loads(json.dumps(settings).replace("{}", json.dumps(secret)[1:-1])))
    for said in (f"refused for {secret}", f"refused: {secret!r}", f"refused for {written}.", repr(written)):
        assert "cr3t" not in redact(said)


def test_what_is_no_credential_can_still_be_read(configured):
    configured(
        {"URL": "amqp://me:s3cr3t@rabbit:5672/vhost", "CONF": {"broker_use_ssl": {"keyfile": "/k.pem"}}}
    )
    text = "ACCESS_REFUSED for me at rabbit:5672, vhost 'vhost', keyfile /k.pem"
    assert redact(text) == text


def test_a_short_password_is_cut_out_as_a_word_alone(configured):
    configured({"URL": "amqp://me:at@rabbit//"})
    assert redact("What was that at 'at'?") == "What was that *** '***'?"


def test_settings_that_hold_themselves_are_read_to_an_end(configured):
    endless: dict[str, object] = {"password": "s3cr3t"}
    endless["again"] = endless
    configured(endless)
    assert redact("s3cr3t") == "***"
