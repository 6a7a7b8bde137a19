"""Signals that logging, metrics and applications listen to."""

from __future__ import annotations

from typing import Final

import django.dispatch

#: A row was inserted, in a transaction that may still roll back. Arguments: message, using.
message_enqueued: Final = django.dispatch.Signal()

#: Rows are about to be inserted: what is added to the ``headers`` of a message, texts as a rule, goes with it to its
#: worker. Receivers may not use the database. Arguments: messages, using.
messages_drafted: Final = django.dispatch.Signal()

#: Rows were inserted; for the package itself (delivery at the commit, test tools), whose listening must cost the sender
#: no query: receivers may not use the database. Arguments: messages, using.
messages_inserted: Final = django.dispatch.Signal()

#: A broker took a message and the row says so. Arguments: message, destination, using.
message_published: Final = django.dispatch.Signal()

#: A message will not be tried again unless it is requeued. Arguments: message, using.
message_dead: Final = django.dispatch.Signal()

#: What became of messages was counted; for the package itself (metrics). Arguments: tallies.
messages_counted: Final = django.dispatch.Signal()

#: A result was stored. Arguments: message, result (a TaskResult), using. Receivers run inside the transaction
#: that stores the result and marks it as handled: one that raises undoes both, and is called again later.
task_finished: Final = django.dispatch.Signal()

#: The registry's rows changed on a connection. Arguments: using.
registry_changed: Final = django.dispatch.Signal()
