"""Claims a batch of due rows with a lease, publishes outside any transaction, settles with a fencing token."""

from dispatch.relay.loop import Relay

__all__ = ["Relay"]
