from __future__ import annotations

import pytest
from kombu import VERSION, compression, serialization

from dispatch.core import codecs
from dispatch.core.codecs import COMPRESSIONS, EXTRAS, SERIALIZERS, absence, is_installed


@pytest.fixture
def nothing_installed(monkeypatch):
    monkeypatch.setattr(codecs, "is_installed", lambda module: False)


ZSTD = pytest.param(
    "zstd", marks=pytest.mark.skipif(VERSION < (5, 7), reason="kombu before 5.7 has zstd by another module")
)


@pytest.mark.parametrize("name", [*sorted(COMPRESSIONS.keys() - {"zstd"}), ZSTD])
def test_a_compression_is_there_exactly_when_kombu_has_it(name):
    try:
        compression.get_encoder(name)
    except KeyError:
        assert absence(name)
    else:
        assert absence(name) == ""


@pytest.mark.parametrize("name", SERIALIZERS)
def test_a_serializer_is_there_exactly_when_kombu_has_it(name):
    assert (absence(name) == "") == (name in serialization.registry._encoders)


@pytest.mark.parametrize("name", sorted((SERIALIZERS | COMPRESSIONS).keys() - {"json"}))
def test_what_is_not_installed_is_told_with_the_way_to_get_it(name, nothing_installed):
    remedy = f"django-celery-dispatch[{name}]" if name in EXTRAS else "a Python that has it"
    assert absence(name).startswith(f"{name} is not installed here: ")
    assert remedy in absence(name)


def test_json_needs_nothing(nothing_installed):
    assert absence("json") == ""


def test_a_module_of_a_package_that_is_not_there_is_not_there_either():
    assert not is_installed("nowhere.to.be.found")
    assert is_installed("json.decoder")
