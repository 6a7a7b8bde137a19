"""What the wheel of celery-manifest gives an empty virtualenv: `celery -A APP manifest`, and nothing of Django."""

from __future__ import annotations

import importlib.util
import json
import subprocess
import sys
from pathlib import Path

APP = """
from celery import Celery
from celery_manifest import install

app = Celery("offered", set_as_current=False)
install(app, version="1")


@app.task(name="offered.add")
def add(x: int, y: int = 2) -> int:
    return x + y
"""

Path("offered.py").write_text(APP)
written = subprocess.check_output([sys.executable, "-m", "celery", "-A", "offered", "manifest"])
[task] = json.loads(written)["tasks"]
assert (task["name"], task["parameters"]["required"]) == ("offered.add", ["x"]), task
assert importlib.util.find_spec("django") is None, "The worker's package has brought Django."
print(f"A manifest of {len(written)} bytes tells {task['name']}.")
