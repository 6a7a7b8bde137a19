from __future__ import annotations

from dispatch.core.suggestions import suggest


def test_close_names_are_offered():
    assert suggest("defualt", ["default", "llm"]) == " (did you mean 'default'?)"
    assert suggest("taks", ["task", "tasks"]) == " (did you mean 'tasks' or 'task'?)"


def test_nothing_is_offered_where_nothing_is_close():
    assert suggest("default", ["zzz"]) == ""
    assert suggest("default", []) == ""


def test_no_more_names_are_offered_than_asked_for():
    assert suggest("task", ["task1", "task2", "task3"], most=1).count("task") == 1
