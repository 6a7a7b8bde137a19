"""docs/howto/several-machines.md: its settings as Django, the drivers and PostgreSQL read them.

What the recipes do is tested in tests/acceptance/faults/test_beyond_one_machine.py.
"""

from __future__ import annotations

import re
import ssl
import textwrap

import psycopg
import pytest

from tests.support import servers
from tests.support.how_to import blocks
from tests.support.tutorial import Project

pytestmark = pytest.mark.slow

SENTINELS, CLUSTER, TLS, POSTGRESQL, OPTIONS = (block.text for block in blocks("several-machines"))
CONNECTIONS = """
    from dispatch.client import celery_apps
    from dispatch.conf import conf
    found = {}
    for alias, broker in conf.brokers.items():
        made = celery_apps.connection(broker)
        found[alias] = [made.transport_cls, made.alt, made.transport_options.get("master_name"), made.ssl]
    answer(found)
"""


def test_django_has_no_error_and_the_drivers_get_what_it_says(project: Project) -> None:
    settings = f"""
{TLS}
DISPATCH = {{
{textwrap.indent(SENTINELS, "    ")}
}}
DISPATCH["BROKERS"] |= {{"redis": REDIS, "rabbitmq": RABBITMQ, "cluster": {{{CLUSTER}}}}}
"""
    project.append("mysite/settings.py", settings)
    assert project.manage("check") == "System check identified no issues (0 silenced).\n"
    found = project.run(CONNECTIONS)
    ports = {alias: re.findall(r"@(\w+:\d+)", str(hosts)) for alias, (_, hosts, *_) in found.items()}
    assert ports["default"] == ["s1:26379", "s2:26379", "s3:26379"]
    assert ports["cluster"] == ["n1:5672", "n2:5672", "n3:5672"]
    assert found["default"][2] == "mymaster"
    authority = "/etc/ssl/internal-ca.pem"
    assert found["redis"][3] == {"ssl_cert_reqs": ssl.CERT_REQUIRED, "ssl_ca_certs": authority}
    assert found["rabbitmq"][3] == {"cert_reqs": ssl.CERT_REQUIRED, "ca_certs": authority}


def test_postgresql_and_its_driver_know_each_option() -> None:
    lines = re.findall(r"^(\w+) = (\w+)$", POSTGRESQL, re.MULTILINE)
    assert len(lines) == 4
    databases: dict[str, dict[str, object]] = {"default": {}}
    exec(OPTIONS, {"DATABASES": databases})
    address = servers.POSTGRESQL.require().replace("postgres://", "postgresql://")
    with psycopg.connect(address, **databases["default"]["OPTIONS"]) as connection:
        for name, value in lines:
            connection.execute(f"SET LOCAL {name} = '{value}'")
        known = connection.execute(
            "SELECT count(*) FROM pg_settings WHERE name = ANY(%s)", [[name for name, _ in lines]]
        )
        assert known.fetchone() == (4,)
