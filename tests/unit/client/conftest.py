"""What tests of the client share: kombu's in-memory broker, which lives in this process and needs no server."""

from __future__ import annotations

import pytest
from kombu.transport import memory


@pytest.fixture(autouse=True)
def empty_memory_broker():
    """Empty the in-memory broker, which every connection of the process shares."""
    memory.Channel.queues.clear()
    memory.Transport.global_state.clear()
