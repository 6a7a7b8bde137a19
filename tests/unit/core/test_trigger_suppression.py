from __future__ import annotations

import asyncio
import threading

import pytest

from dispatch.core.trigger_suppression import allow_triggers, suppress_triggers, suppressed


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


def test_only_the_named_triggers_are_suppressed_and_nested_blocks_add_up():
    with suppress_triggers("a"):
        with suppress_triggers("b"):
            assert [suppressed(name) for name in ("a", "b", "c", "")] == [True, True, False, False]
            with suppress_triggers():
                assert suppressed("c")
        assert [suppressed(name) for name in ("a", "b")] == [True, False]


def test_what_is_allowed_again_is_suppressed_again_after_the_block():
    with suppress_triggers(reason="because"):
        with allow_triggers():
            assert not suppressed("a")
            with suppress_triggers("a"):
                assert [suppressed("a"), suppressed("b")] == [True, False]
            assert not suppressed("a")
        assert suppressed("a")


def test_one_block_may_be_entered_by_several_threads_and_inside_itself():
    block, together, seen = suppress_triggers(), threading.Barrier(4), []

    def work():
        with block:
            together.wait(10)
            with block:
                seen.append(suppressed())
            together.wait(10)
            seen.append(suppressed())
        seen.append(suppressed())

    threads = [threading.Thread(target=work) for _ in range(4)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert sorted(seen) == [False] * 4 + [True] * 8


def test_triggers_are_allowed_in_a_decorated_function():
    @allow_triggers()
    def seen():
        return suppressed()

    with suppress_triggers():
        assert not seen()


def test_a_decorator_without_parentheses_says_so():
    @suppress_triggers
    def save(note):
        raise AssertionError

    with pytest.raises(
        TypeError, match=r"got 'a note' to decorate: it is called first, as in @suppress_triggers\(\)"
    ):
        save("a note")


@pytest.mark.parametrize("kind", ["sync", "async"])
def test_a_generator_is_not_decorated_since_it_runs_after_the_call(kind):
    def numbers():
        yield 1

    async def more():
        yield 1

    with pytest.raises(TypeError, match=r"is a generator.*write `with suppress_triggers\(\):` inside"):
        suppress_triggers()(numbers if kind == "sync" else more)


def test_what_is_neither_a_name_nor_a_function_is_refused():
    with pytest.raises(TypeError, match="5 names no trigger"):
        suppress_triggers(5)
