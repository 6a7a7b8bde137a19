"""`make matrix`: unit and integration tests on each promised pair of Python and Django, and on the oldest Celery.
`make guest`: Django's own test suites on each pair, with dispatch installed.
`make package`: both distributions, as an index takes them and as an empty virtualenv gets them.

An interpreter that this machine does not have is named in the report at the end; the others are tested.
"""

from __future__ import annotations

import json
import re
import shutil
from collections.abc import Sequence
from pathlib import Path

import nox

# Seven environments: pip takes half a minute for each, uv a second once it has seen one.
nox.options.default_venv_backend = "uv"
nox.options.download_python = "never"
nox.options.reuse_venv = "yes"
nox.options.error_on_missing_interpreters = False

ROOT = Path(__file__).parent
PINS = ROOT / "constraints" / "dev.txt"
DISTRIBUTIONS = ROOT / "dist"
TESTS_FAILED, NO_TESTS_COLLECTED = 1, 5  # pytest's exit codes
FEW = 3  # failures that may be the machine's, as in tests/suites.py
#: What a session chooses itself, and what hangs on that choice.
CHOSEN = re.compile(r"(django|celery|kombu|amqp|billiard|vine|redis)==", re.IGNORECASE)
#: The pair that constraints/dev.txt pins, which `make test` has run where its Python is this one; and the others.
PINNED, OTHERS = ("3.11", "5.2"), [("3.12", "6.0"), ("3.13", "6.1")]
#: What is run on each pair; and on the oldest Celery what goes through dispatch.client, which alone imports Celery.
WHOLE = ("tests/unit", "tests/integration")
OF_CELERY = ("tests/unit/client", "tests/unit/configuration", "tests/unit/queues", "tests/integration")


@nox.session(tags=["matrix"])
@nox.parametrize(
    "python,django", [nox.param(*PINNED), *(nox.param(*pair, tags=["others"]) for pair in OTHERS)]
)
def django(session: nox.Session, django: str) -> None:
    """The newest Celery, on one version of Django and the oldest Python that it is promised for."""
    run(session, WHOLE, f"Django=={django}.*")


@nox.session(python="3.11", tags=["matrix", "others"])
def oldest_celery(session: nox.Session) -> None:
    """The oldest Celery that pyproject.toml promises."""
    # Its redis-py leaves sockets to the garbage collector.
    run(
        session,
        OF_CELERY,
        "Django==5.2.*",
        "celery==5.5.*",
        flags=["-W", "ignore::pytest.PytestUnraisableExceptionWarning"],
    )


@nox.session(tags=["guest"])
@nox.parametrize("python,django", [PINNED, *OTHERS])
def guest(session: nox.Session, django: str) -> None:
    """Django's own test suites, with dispatch among the apps."""
    install(session, f"Django=={django}.*", "pip")  # which brings the suites
    session.run("python", "-m", "tests.guest")


@nox.session(python="3.11", tags=["package"])
def distributions(session: nox.Session) -> None:
    """Build both, and check what an index and an importer would see of them."""
    session.install("-q", "build", "check-wheel-contents", "twine", "-c", str(PINS))
    shutil.rmtree(DISTRIBUTIONS, ignore_errors=True)
    session.env["PIP_CONSTRAINT"] = session.env["PIP_BUILD_CONSTRAINT"] = str(PINS)
    for project in (ROOT, ROOT / "worker_stub" / "packages" / "celery-manifest"):
        session.chdir(project)
        session.run("python", "-m", "build", "--outdir", str(DISTRIBUTIONS), silent=True)
        newest = max(DISTRIBUTIONS.glob("*.whl"), key=lambda path: path.stat().st_mtime_ns)
        session.run("check-wheel-contents", str(newest))
    session.run("twine", "check", "--strict", *map(str, DISTRIBUTIONS.iterdir()))


@nox.session(python=["3.11", "3.12", "3.13"], tags=["package"])
@nox.parametrize("wheel,script", [("django_celery_dispatch", "dispatch"), ("celery_manifest", "manifest")])
def wheel(session: nox.Session, wheel: str, script: str) -> None:
    """What `distributions` has built, in an empty virtualenv and away from the checkout."""
    [built] = DISTRIBUTIONS.glob(f"{wheel}-*.whl")
    session.install("-q", "--reinstall-package", wheel, str(built), "-c", str(PINS))
    session.chdir(session.create_tmp())
    session.run("python", str(ROOT / "tests" / "package" / f"try_{script}.py"))


def run(session: nox.Session, tests: Sequence[str], *requirements: str, flags: Sequence[str] = ()) -> None:
    """Run what depends on the versions; property tests look for values in `make test`, and try some here."""
    install(session, *requirements)
    cache = Path(session.create_tmp()) / "pytest"
    pytest = [
        "python",
        "-m",
        "pytest",
        "-q",
        "-m",
        "not slow",
        "--hypothesis-profile=trial",
        "-o",
        f"cache_dir={cache}",
        *flags,
        *tests,
    ]
    session.env["DATABASE_URL"] = None
    at_once = ["--cache-clear", "-n", "2", "--dist", "loadfile"]
    session.run(*pytest, *at_once, *session.posargs, success_codes=[0, TESTS_FAILED])
    # What has failed beside others is run once more, alone, if it is little: decision 55.
    if failures(cache) > FEW:
        session.error(f"More than {FEW} tests have failed.")
    again = ["--last-failed", "--last-failed-no-failures=none"]
    session.run(*pytest, *again, *session.posargs, success_codes=[0, NO_TESTS_COLLECTED])


def failures(cache: Path) -> int:
    noted = cache / "v" / "cache" / "lastfailed"
    return len(json.loads(noted.read_text())) if noted.exists() else 0


def install(session: nox.Session, *requirements: str) -> None:
    pins = PINS.read_text().splitlines(keepends=True)
    constraints = Path(session.create_tmp()) / "constraints.txt"
    constraints.write_text("".join(pin for pin in pins if not CHOSEN.match(pin)))
    session.install("-q", "-r", "requirements/test.txt", *requirements, "-c", str(constraints))
