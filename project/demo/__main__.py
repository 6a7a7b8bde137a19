from __future__ import annotations

import os
import sys
import tempfile
import time
from pathlib import Path

import django
from rich.console import Console

from project.stack import ProcessDied, Stack, embedded_broker, exit_on_signals


def main() -> int:
    exit_on_signals()
    console = Console(highlight=False)
    begun = time.monotonic()
    try:
        with tempfile.TemporaryDirectory(prefix="dispatch-demo-") as name:
            as_expected = _demo(Path(name), console)
    except ProcessDied as error:
        console.print(str(error), markup=False, style="red")
        return 1
    except KeyboardInterrupt:
        console.print("Interrupted; everything has been stopped.")
        return 130
    console.print(f"Stopped all that was started. {time.monotonic() - begun:.0f} s in all.")
    return 0 if as_expected else 1


def _demo(directory: Path, console: Console) -> bool:
    with embedded_broker(directory) as broker:
        console.print(f"broker: {broker.description}")
        stack = Stack(
            directory,
            database_url=f"sqlite:///{directory / 'demo.sqlite3'}",
            broker_url=broker.url,
            result_backend_url=broker.result_backend,
            broker_folder=broker.folder,
        )
        stack.prepare(console.print)
        console.print("starting web, worker, relay and results")
        with stack:
            return _play(stack, directory, console)


def _play(stack: Stack, directory: Path, console: Console) -> bool:
    # From here on this process is one more Django process of the project, as a shell would be.
    os.environ.update(stack.web_environment)
    django.setup()
    from project.demo.scenario import Scenario
    from project.demo.table import follow

    scenario = Scenario.play(directory)
    follow(scenario, console, check=stack.check)
    return scenario.report(console)


if __name__ == "__main__":
    sys.exit(main())
