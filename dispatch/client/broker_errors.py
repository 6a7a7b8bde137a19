"""What each error of a broker, or of the driver that talks to it, means for a message."""

from __future__ import annotations

from dataclasses import dataclass

import redis
import redis.sentinel
from amqp.exceptions import FrameError, FrameSyntaxError
from kombu import Connection
from kombu.exceptions import KombuError

from dispatch.core.redaction import redact
from dispatch.exceptions import BrokerUnavailable, DeliveryUnknown, MessageRefused, PublishError

#: Redis takes nothing from anyone just now: no reason for a message to die.
REFUSES_ALL = (
    redis.exceptions.OutOfMemoryError,
    redis.exceptions.ReadOnlyError,
    redis.exceptions.BusyLoadingError,
    redis.exceptions.NoPermissionError,
)
REFUSING_STATES = ("MISCONF", "NOREPLICAS", "CLUSTERDOWN", "LOADING", "READONLY", "OOM")
#: What AMQP cannot write: py-amqp says so before it writes anything, RabbitMQ closes the connection.
UNWRITABLE = (FrameSyntaxError, FrameError)


@dataclass(frozen=True, slots=True)
class BrokerErrors:
    """The errors of one connection to the broker ``alias``."""

    alias: str
    connection: Connection

    @property
    def lost(self) -> tuple[type[Exception], ...]:
        """The errors that mean the connection is gone."""
        errors = (*self.connection.connection_errors, OSError)
        # kombu counts KeyError among Redis's: it may as well be a codec that is not installed
        return tuple(error for error in errors if not issubclass(KeyError, error))

    def is_loss(self, error: Exception) -> bool:
        """Whether the connection is gone, and no message is to blame."""
        return isinstance(error, self.lost) and not isinstance(error, UNWRITABLE)

    def judge(self, error: Exception, where: str) -> PublishError:
        """Return what the error of one message for the queue or exchange ``where`` means for it."""
        if isinstance(error, MessageRefused):
            return error
        if isinstance(error, REFUSES_ALL):
            return self.unavailable("takes no messages", error)
        what = f"Broker {self.alias!r} refused the message for {where!r}"
        if isinstance(error, redis.ResponseError):
            all_of_them = str(error).startswith(REFUSING_STATES)
            return (BrokerUnavailable if all_of_them else MessageRefused)(sentence(what, error))
        if self.is_loss(error):
            return self.unknown(error)
        if isinstance(error, (*self.connection.channel_errors, KombuError)):
            return MessageRefused(sentence(what, error))
        return MessageRefused(sentence("The message cannot be encoded", error))

    def unknown(self, error: Exception) -> DeliveryUnknown:
        """Return the failure of a message that was handed over, and never answered."""
        what = "closed the channel" if isinstance(error, self.connection.channel_errors) else "was lost"
        return DeliveryUnknown(sentence(f"Broker {self.alias!r} {what} while it took the message", error))

    def unavailable(self, what: str, error: Exception) -> BrokerUnavailable:
        """Return the failure of a message that was not handed over."""
        return BrokerUnavailable(sentence(f"Broker {self.alias!r} {what}", error))


def sentence(what: str, error: BaseException) -> str:
    """Return what happened and why, without a password."""
    reason = str(getattr(error, "reply_text", "") or error)
    if redis.sentinel.MasterNotFoundError in (type(error), type(error.__cause__)):
        reason = reason.partition(" : ")[0]  # what follows are the clients of all sentinels, in full
    return f"{what}: {redact(reason) or type(error).__name__}"
