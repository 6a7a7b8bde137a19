"""A project's own tests, which know nothing of dispatch."""

from __future__ import annotations

from django.test import SimpleTestCase


class WithoutADatabase(SimpleTestCase):
    def test_a_request_works_where_no_database_may_be_asked(self):
        for _ in range(2):
            assert self.client.get("/nothing-here").status_code == 404
