"""What the relay's process does with rows (claim under a lease, publish outside any transaction, settle with a fencing
token), not how rows are inserted or requeued (``outbox``), nor how one talks to a broker (``client``).
"""

from dispatch.relay.loop import Relay

__all__ = ["Relay"]
