"""The worker's app, whose first credit is the last thing that a process does: `-A crashing`.

`CRASH` is the file that remembers that it has happened; `VICTIM` is the `process` of the pool or the whole
`worker`. The effect is committed by then, its message not acknowledged, its result not stored.
"""

from __future__ import annotations

import functools
import os
import signal
from pathlib import Path
from typing import Any

from worker.app import app

app.loader.import_default_modules()
if app.conf.broker_url.startswith("redis"):
    # Redis gives back what a killed worker had only after this time, an hour in the real settings
    app.conf.broker_transport_options |= {"visibility_timeout": 1}

task = app.tasks["worker.tasks.ledger.credit_account"]
run = task.run


@functools.wraps(run)
def crash_once(*args: Any, **kwargs: Any) -> Any:
    result = run(*args, **kwargs)
    mark = Path(os.environ["CRASH"])
    if not mark.exists():
        mark.touch()
        if os.environ["VICTIM"] == "worker":
            os.kill(os.getppid(), signal.SIGKILL)
        os.kill(os.getpid(), signal.SIGKILL)
    return result


task.run = crash_once
