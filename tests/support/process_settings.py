"""Settings of a process that a test starts: the project's, with the test's own ``DISPATCH``."""

from __future__ import annotations

import json
import os

from project.settings import *  # noqa: F403

DISPATCH = json.loads(os.environ["TEST_DISPATCH"])
