from __future__ import annotations

from hypothesis import given
from hypothesis import strategies as st

from dispatch.core.message import REPR_LENGTH, represent


@given(st.text(max_size=3000))
def test_a_repr_is_cut_to_what_celery_allows(value):
    assert len(represent(value)) <= REPR_LENGTH
    assert len(repr(value)) > REPR_LENGTH or represent(value) == repr(value)
