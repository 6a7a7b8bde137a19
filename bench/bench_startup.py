"""P15: what a process pays to start with dispatch installed, beside one with django-celery-results alone.

Bytecode is written, as pip does for what it installs: compiling dispatch at each start would cost more than running it.
"""

from __future__ import annotations

import os
import subprocess
import sys
import tempfile
from functools import partial
from pathlib import Path

from harness import Figure, Goal, Report, difference, repeated

P15 = Goal("P15", "CPU of django.setup(), added by dispatch", 150, most=True, unit="ms")
MOST_MEMORY = 8
REPEATS = 16
WITHOUT, WITH, API = "django-celery-results", "… and dispatch", "… and dispatch, with import dispatch.api"
DJANGO = ["admin", "auth", "contenttypes", "messages", "sessions"]
APPS = [*(f"django.contrib.{app}" for app in DJANGO), "django_celery_results"]
#: How each process ends: the milliseconds of CPU that it took in all, or its memory in MB.
CPU = "import resource as r; u = r.getrusage(r.RUSAGE_SELF); print(1e3 * (u.ru_utime + u.ru_stime))"
MEMORY = "print(int(open('/proc/self/status').read().split('VmRSS:')[1].split()[0]) / 1024)"


def started(apps: list[str], then: str, figure: str, bytecode: str) -> float:
    """Return the figure of a fresh process that set Django up, and keeps its bytecode in a folder."""
    code = f"""
import django
from django.conf import settings
settings.configure(INSTALLED_APPS={apps}, DISPATCH={{"BROKERS": {{"default": {{"URL": "redis://"}}}}}}, USE_TZ=True)
django.setup()
{then}
{figure}
"""
    root = Path(__file__).resolve().parents[1]
    environment = os.environ | {"PYTHONPYCACHEPREFIX": bytecode, "PYTHONDONTWRITEBYTECODE": ""}
    command = [sys.executable, "-c", code]
    done = subprocess.run(command, cwd=root, env=environment, check=True, stdout=subprocess.PIPE, text=True)
    return float(done.stdout)


def main() -> None:
    contenders = {
        "Django": partial(started, APPS[:-1], ""),
        WITHOUT: partial(started, APPS, ""),
        WITH: partial(started, [*APPS, "dispatch"], ""),
        API: partial(started, [*APPS, "dispatch"], "import dispatch.api"),
    }
    report, added = Report("startup", {}), {}
    for title, unit, figure in (("CPU", "ms", CPU), ("Memory", "MB", MEMORY)):
        with tempfile.TemporaryDirectory() as bytecode:
            starts = {name: partial(start, figure, bytecode) for name, start in contenders.items()}
            series = repeated(starts, REPEATS)
        report.title(f"{title} of a process that calls django.setup()")
        for name, values in series.items():
            report.row(name, Figure.of(values), unit)
        added[unit] = difference(series, WITH, WITHOUT)
        report.row("added by dispatch", added[unit], unit)
    report.title(f"Goal: no more than {P15.goal} ms of CPU and {MOST_MEMORY} MB are added")
    report.goal(P15, added["ms"], {}, met=added["MB"].value <= MOST_MEMORY)
    report.write()


if __name__ == "__main__":
    main()
