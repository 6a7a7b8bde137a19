"""For tests in the manner of unittest, under Django's own test runner or pytest."""

from __future__ import annotations

import os
import unittest
from typing import TYPE_CHECKING, ClassVar

from dispatch.testing.dispatched import Dispatched

if TYPE_CHECKING:
    _Base = unittest.TestCase
else:
    _Base = object


class DispatchTestMixin(_Base):
    """Gives each test ``self.dispatched``; to be named before ``TestCase`` or ``TransactionTestCase``.

    ``dispatch_manifest`` is the path of a worker manifest whose tasks may be sent; with ``dispatch_any_task`` every
    name may be. A ``setUp`` of one's own calls ``super().setUp()`` first.
    """

    dispatch_manifest: ClassVar[str | os.PathLike[str] | None] = None
    dispatch_any_task: ClassVar[bool] = False

    dispatched: Dispatched

    def setUp(self) -> None:
        """Begin to note what is sent."""
        super().setUp()
        self.dispatched = self.enterContext(Dispatched())
        if self.dispatch_manifest is not None:
            self.dispatched.manifest(self.dispatch_manifest)
        if self.dispatch_any_task:
            self.dispatched.any_task()
