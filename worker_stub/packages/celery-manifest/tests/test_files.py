from __future__ import annotations

import os
import threading

import pytest

from celery_manifest.files import replace


def test_a_link_stays_a_link(tmp_path):
    (tmp_path / "real").write_bytes(b"old")
    (tmp_path / "link").symlink_to("real")
    replace(tmp_path / "link", b"new")
    assert (tmp_path / "link").is_symlink()
    assert (tmp_path / "real").read_bytes() == b"new"


def test_a_pipe_is_written_to_and_not_replaced(tmp_path):
    os.mkfifo(tmp_path / "pipe")
    read = []
    reader = threading.Thread(target=lambda: read.append((tmp_path / "pipe").read_bytes()), daemon=True)
    reader.start()
    replace(tmp_path / "pipe", b"new")
    reader.join(timeout=10)
    assert read == [b"new"]
    assert (tmp_path / "pipe").is_fifo()


def test_a_failure_leaves_the_old_file_and_no_other(tmp_path, monkeypatch):
    (tmp_path / "file").write_bytes(b"old")

    def fail(*_):
        raise OSError("no space left")

    monkeypatch.setattr("shutil.copymode", fail)
    with pytest.raises(OSError, match="no space left"):
        replace(tmp_path / "file", b"new")
    assert (tmp_path / "file").read_bytes() == b"old"
    assert len(list(tmp_path.iterdir())) == 1
