"""The project's settings, with the apps that the environment names above the admin's."""

from __future__ import annotations

import os

from project.settings import *  # noqa: F403
from project.settings import INSTALLED_APPS

INSTALLED_APPS = ["dispatch", *os.environ["BESIDE"].split(), *INSTALLED_APPS[1:]]
