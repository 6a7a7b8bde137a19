"""The whole system as processes: an embedded broker, web, worker, relay and results.

`make demo`, `make run` and the acceptance tests start it from here. Nothing in this package imports Django:
it runs beside the processes it looks after.
"""

from __future__ import annotations

from project.stack.broker import Broker, embedded_broker
from project.stack.process import Process, ProcessDied, exit_on_signals
from project.stack.stack import Stack

__all__ = ["Broker", "Process", "ProcessDied", "Stack", "embedded_broker", "exit_on_signals"]
