from __future__ import annotations

import contextlib
import gc
import threading
import time
import weakref

import pytest

from dispatch.client import background_calls
from dispatch.client.background_calls import SideBySide, within_timeout


@pytest.fixture
def gate():
    """What a driver waits for without end; opened after the test, so that no thread stays behind."""
    event = threading.Event()
    yield event
    event.set()


@pytest.fixture(autouse=True)
def short(settings):
    settings.DISPATCH = {"BROKER_TIMEOUT": 0.02}


def eventually(condition):
    for _ in range(500):
        if condition():
            return True
        time.sleep(0.01)
    return False


def test_an_answer_in_time_is_returned_and_an_error_is_raised_as_it_is():
    assert within_timeout("key", lambda: 5) == 5
    with pytest.raises(ZeroDivisionError):
        within_timeout("key", lambda: 1 / 0)
    with pytest.raises(TimeoutError, match="the driver's own"):
        within_timeout("key", lambda: (_ for _ in ()).throw(TimeoutError("the driver's own")))
    assert within_timeout("key", lambda: 6) == 6


def test_nobody_waits_for_a_call_that_never_ends(gate):
    with pytest.raises(TimeoutError, match=r"it did not answer within 0\.02 s"):
        within_timeout("never", gate.wait)


def test_while_a_call_is_unanswered_no_other_is_begun_and_other_keys_are_asked(gate):
    begun = []
    for _ in range(3):
        with pytest.raises(TimeoutError):
            within_timeout("silent", lambda: begun.append(1) or gate.wait())
    assert begun == [1]
    assert within_timeout("other", lambda: "answer") == "answer"


def test_a_late_answer_is_discarded_and_the_next_call_is_made_again(gate):
    late = []
    with pytest.raises(TimeoutError):
        within_timeout("late", gate.wait, discard=late.append)
    gate.set()
    assert eventually(lambda: late == [True])
    assert within_timeout("late", lambda: "in time") == "in time"


def test_a_driver_that_waits_for_ever_does_not_keep_its_server_away_for_ever(gate, monkeypatch):
    with pytest.raises(TimeoutError):
        within_timeout("stuck", gate.wait)
    monkeypatch.setattr(background_calls, "GIVEN_UP", 0.0)
    assert within_timeout("stuck", lambda: "it is back") == "it is back"


def test_what_failed_is_let_go_of_at_once():
    class Held:
        pass

    def fail():
        held = Held()
        left.append(weakref.ref(held))
        raise ValueError

    left = []
    gc.disable()  # a cycle would be found by it alone
    with contextlib.suppress(ValueError):
        within_timeout("key", fail)
    gone = eventually(lambda: left[0]() is None)
    gc.enable()
    assert gone


def test_calls_run_side_by_side_and_a_silent_one_holds_up_no_other(gate):
    calls = SideBySide()
    calls.begin("silent", gate.wait)
    for number in range(3):
        calls.begin("quick", lambda number=number: number)
        assert calls.take_first(5) == {"quick": number}
    assert calls.take_first(0) == {}
    assert calls.names == {"silent"}
    gate.set()
    assert calls.take_all(5) == {"silent": True}
    assert calls.take_first(None) == calls.take_all(5) == {}


def test_the_error_of_a_call_is_raised_and_loses_no_answer_of_another():
    calls = SideBySide()
    calls.begin("before", lambda: 1)
    calls.begin("fails", lambda: 1 / 0)
    calls.begin("after", lambda: 2)
    with pytest.raises(ZeroDivisionError):
        calls.take_all(5)
    assert calls.take_all(5) == {"before": 1, "after": 2}
