from __future__ import annotations

import asyncio
import threading

import pytest

from dispatch.core.suppression import suppress_triggers, suppressed


def test_triggers_are_suppressed_inside_the_block_only():
    assert not suppressed()
    with suppress_triggers():
        assert suppressed()
    assert not suppressed()


def test_the_end_of_an_inner_block_does_not_end_the_outer_one():
    with suppress_triggers():
        with suppress_triggers():
            assert suppressed()
        assert suppressed()
    assert not suppressed()


def test_an_exception_ends_the_block():
    with pytest.raises(ZeroDivisionError), suppress_triggers():
        raise ZeroDivisionError
    assert not suppressed()


def test_a_decorated_function_is_suppressed_at_each_call_and_may_call_itself():
    @suppress_triggers()
    def seen(depth):
        return [suppressed(), *(seen(depth - 1) if depth else [])]

    assert seen(2) == [True, True, True]
    assert seen(0) == [True]
    assert not suppressed()


def test_another_thread_is_not_suppressed():
    seen = []
    with suppress_triggers():
        thread = threading.Thread(target=lambda: seen.append(suppressed()))
        thread.start()
        thread.join()
    assert seen == [False]


def test_tasks_of_one_event_loop_do_not_suppress_each_other():
    async def main():
        entered, looked = asyncio.Event(), asyncio.Event()

        async def suppressing():
            with suppress_triggers():
                entered.set()
                await looked.wait()
                return suppressed()

        async def looking():
            await entered.wait()
            looked.set()
            return suppressed()

        return await asyncio.gather(suppressing(), looking())

    assert asyncio.run(main()) == [True, False]


def test_a_decorated_coroutine_function_is_suppressed_while_it_runs():
    @suppress_triggers()
    async def seen():
        return suppressed()

    assert asyncio.run(seen())
