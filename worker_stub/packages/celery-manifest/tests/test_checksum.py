from __future__ import annotations

import hashlib

from celery_manifest import checksum


def test_the_checksum_is_that_of_the_canonical_form():
    canonical = '{"a":[1,null],"b":"ü"}'
    expected = "sha256:" + hashlib.sha256(canonical.encode()).hexdigest()
    assert checksum({"b": "ü", "a": [1, None], "checksum": "ignored"}) == expected
