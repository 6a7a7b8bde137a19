"""Web and worker share no code and no dependency that matters."""

from __future__ import annotations

import json
import subprocess
import sys
from pathlib import Path

ROOT = Path(__file__).resolve().parents[2]
WORKER_PYTHON = ROOT / "worker_stub" / ".venv" / "bin" / "python"


def distributions(python: str | Path) -> set[str]:
    script = (
        "import importlib.metadata as m, json; print(json.dumps([d.name.lower() for d in m.distributions()]))"
    )
    done = subprocess.run([python, "-I", "-c", script], capture_output=True, text=True, check=True)
    return set(json.loads(done.stdout))


def can_import(python: str | Path, module: str) -> bool:
    script = f"import importlib.util, sys; sys.exit(importlib.util.find_spec({module!r}) is None)"
    return subprocess.run([python, "-I", "-c", script], check=False).returncode == 0


def test_the_web_virtualenv_holds_nothing_of_the_worker() -> None:
    workers = {"dispatch-worker-stub", "celery-manifest"}
    assert distributions(sys.executable).isdisjoint(workers)
    assert not can_import(sys.executable, "worker")
    assert not can_import(sys.executable, "celery_manifest")


def test_the_worker_virtualenv_holds_nothing_of_django() -> None:
    django = {name for name in distributions(WORKER_PYTHON) if "django" in name}
    assert django == set()
    assert not can_import(WORKER_PYTHON, "dispatch")
    assert not can_import(WORKER_PYTHON, "project")
    assert can_import(WORKER_PYTHON, "celery_manifest")


def test_no_source_of_one_names_the_other() -> None:
    web = [*ROOT.glob("dispatch/**/*.py"), *ROOT.glob("project/notes/**/*.py")]
    worker = [path for path in ROOT.glob("worker_stub/**/*.py") if ".venv" not in path.parts]
    assert web
    assert worker
    for path in web:
        assert not _imports(path, "worker", "pydantic"), path
    for path in worker:
        assert not _imports(path, "django", "dispatch", "project"), path


def _imports(path: Path, *names: str) -> bool:
    starts = tuple(f"{word} {name}" for name in names for word in ("import", "from"))
    return any(line.strip().startswith(starts) for line in path.read_text().splitlines())


def test_the_package_for_every_worker_names_neither_this_worker_nor_the_web_service() -> None:
    package = ROOT / "worker_stub" / "packages" / "celery-manifest"
    sources = [*package.glob("celery_manifest/*.py"), package / "pyproject.toml", package / "README.md"]
    assert len(sources) > 2
    for path in sources:
        words = path.read_text().lower()
        assert "django" not in words, path
        assert "dispatch" not in words, path
        assert "from worker" not in words, path
