"""Everything that dispatch raises on purpose, in one tree.

DispatchError
├── ConfigurationError          the DISPATCH setting or the registry does not fit
├── SendError                   raised to the caller of send_task, before anything is stored
│   ├── UnknownTask             no such task in the registry
│   ├── TaskDisabled            the task is registered, but switched off
│   ├── TaskRetired             the task is registered, but its worker no longer offers it
│   ├── InvalidArguments        the arguments do not fit the task's parameters
│   ├── InvalidOption           an option's value does not fit
│   └── NoDestination           no queue can be found for the message
├── UnreadableMessage           a stored message that no call would have made
├── InvalidManifest             a worker manifest that cannot be read
├── InvalidConfiguration        a configuration document that cannot be imported
└── PublishError                a broker did not take a message
    ├── BrokerUnavailable       the broker cannot be reached: nothing was handed over
    ├── QueueUnavailable        the broker refuses this queue: others may work
    ├── DeliveryUnknown         the connection broke while handing over: it may have arrived
    └── MessageRefused          the broker, or the client, refuses this one message
"""

from __future__ import annotations


class DispatchError(Exception):
    """Base of every error that dispatch raises on purpose."""


class ConfigurationError(DispatchError):
    """The DISPATCH setting, or what the registry holds, cannot be used."""


class SendError(DispatchError, ValueError):
    """A message that cannot be enqueued; nothing was stored."""


class UnknownTask(SendError):
    """No task of this name is in the registry."""


class TaskDisabled(SendError):
    """The task is registered, but switched off in the registry."""


class TaskRetired(SendError):
    """The task is registered, but the last manifest of its worker no longer had it."""


class InvalidArguments(SendError):
    """The arguments do not fit the task's parameters.

    ``pointer`` is the JSON pointer (RFC 6901) of the offending value in
    ``{"args": [...], "kwargs": {...}}``, for example ``/kwargs/note_id``.
    """

    def __init__(self, message: str, pointer: str = "") -> None:
        super().__init__(message)
        self.pointer = pointer

    def outside(self, depth: int = 2) -> InvalidArguments:
        """Return the same error with a pointer of no more than ``depth`` steps, to be raised in its place.

        Further steps are keys inside of an argument, which may be secret as its values are.
        """
        pointer = "/".join(self.pointer.split("/")[: depth + 1])
        return type(self)(str(self).replace(self.pointer, pointer) if self.pointer else str(self), pointer)


class InvalidOption(SendError):
    """An option of a call has a value that cannot be used."""


class NoDestination(SendError):
    """The queue or exchange a message should go to is not in the registry."""


class UnreadableMessage(DispatchError):
    """A stored message that no call would have made: it was written, or changed, past the API."""


class InvalidManifest(DispatchError, ValueError):
    """A worker manifest that cannot be read."""


class InvalidConfiguration(DispatchError, ValueError):
    """A configuration document that cannot be imported; nothing was changed.

    ``problems`` holds a sentence for each thing that is wrong; as a text they stand one a line.
    """

    def __init__(self, *problems: str) -> None:
        super().__init__("\n".join(problems))
        self.problems = problems


class PublishError(DispatchError):
    """A broker did not take a message."""


class BrokerUnavailable(PublishError):
    """The broker cannot be reached; nothing was handed over."""


class QueueUnavailable(PublishError):
    """The broker refuses the queue as a whole, for example because its arguments differ."""


class DeliveryUnknown(PublishError):
    """The connection broke while the message was handed over; it may have arrived."""


class MessageRefused(PublishError):
    """The broker, or the client, refuses this one message; others may pass."""
