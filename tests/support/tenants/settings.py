"""Settings for django-tenants; the environment says where dispatch lives: "shared" or "own"."""

from __future__ import annotations

import os
from urllib.parse import urlsplit

_database = urlsplit(os.environ["DATABASE_URL"])
_dispatch = ["django_celery_results", "dispatch"]
_is_shared = os.environ["DISPATCH_LIVES"] == "shared"

SECRET_KEY = "only for this test"
USE_TZ = True
SHARED_APPS = [
    "django_tenants",
    "tests.support.tenants.owners",
    "django.contrib.contenttypes",
    "django.contrib.auth",
]
TENANT_APPS = ["django.contrib.contenttypes", "tests.support.tenants.shop"]
if _is_shared:
    SHARED_APPS += ["django.contrib.admin"]
(SHARED_APPS if _is_shared else TENANT_APPS).extend(_dispatch)
INSTALLED_APPS = list(dict.fromkeys([*SHARED_APPS, *TENANT_APPS]))
TENANT_MODEL, TENANT_DOMAIN_MODEL = "owners.Owner", "owners.Domain"
DATABASE_ROUTERS = ["django_tenants.routers.TenantSyncRouter"]
DEFAULT_AUTO_FIELD = "django.db.models.BigAutoField"
DATABASES = {
    "default": {
        "ENGINE": "django_tenants.postgresql_backend",
        "HOST": _database.hostname,
        "PORT": _database.port,
        "USER": _database.username,
        "PASSWORD": _database.password or "",
        "NAME": _database.path[1:],
    }
}
DISPATCH = {"BROKERS": {"default": {"URL": "memory://"}}, "REGISTRY_TTL": 60.0}
