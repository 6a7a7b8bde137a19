from __future__ import annotations

import socket
from types import SimpleNamespace

import pytest

from project import run
from project.stack import Broker, Process, ProcessDied
from project.stack.network import HOST


def test_a_second_run_in_one_checkout_says_so_and_touches_nothing(tmp_path, monkeypatch, capsys):
    monkeypatch.setattr(run, "DIRECTORY", tmp_path)
    monkeypatch.setattr(run, "exit_on_signals", lambda: None)
    monkeypatch.setattr(run, "_run", pytest.fail)
    with run._alone(tmp_path):
        before = (tmp_path / "lock").read_text()
        assert run.main() == 1
    assert (tmp_path / "lock").read_text() == before
    assert (
        f"runs already in this checkout, as process {before.strip()}: stop it with" in capsys.readouterr().out
    )


def test_after_a_run_another_may_begin(tmp_path):
    for _ in range(2):
        with run._alone(tmp_path):
            pass


def test_a_port_in_use_is_told_with_the_one_taken_instead(monkeypatch, capsys):
    with socket.create_server((HOST, 0)) as server:
        monkeypatch.setattr(run, "PORT", server.getsockname()[1])
        port = run._port()
    assert port != run.PORT
    assert capsys.readouterr().out == (
        f"port {run.PORT} is in use by another program: the admin is on port {port} instead\n"
    )
    assert run._port() == run.PORT
    assert capsys.readouterr().out == ""


def test_a_process_that_ends_is_told_before_the_others_are_stopped(capsys):
    def check():
        raise ProcessDied("relay ended with exit code -9.")

    with pytest.raises(SystemExit, match="1"):
        run._watch(SimpleNamespace(check=check), Broker("", "", ""))
    assert capsys.readouterr().out == "\nrelay ended with exit code -9.\nStopping the others.\n"


def test_a_broker_that_goes_is_told(tmp_path, capsys):
    process = Process("redis", ["sleep", "60"], log=tmp_path / "redis.log")
    process.start()
    broker = Broker("", "", "", process=process)
    broker.check()
    process.signal(9)
    process._popen.wait()
    with pytest.raises(SystemExit, match="1"):
        run._watch(SimpleNamespace(check=lambda: None), broker)
    assert "redis ended with exit code -9." in capsys.readouterr().out
