"""docs/howto/http-endpoint.md: both endpoints send, hand out the schema, and refuse as the page shows."""

from __future__ import annotations

import json
import re
import shlex

import pytest

from tests.support.how_to import Block, blocks
from tests.support.tutorial import Project

pytestmark = pytest.mark.slow

NINJA, REST, CURL = blocks("http-endpoint")
[(_, COMMAND, SHOWN)] = CURL.commands()
_, URL, _, HEADER, _, WRONG = shlex.split(COMMAND)
ASK = f"""
from django.test import Client
token = "a" * 32
client = Client(enforce_csrf_checks=True, headers={{"host": "localhost", "X-CSRFToken": token}})
client.cookies["csrftoken"] = token
def post(data): return client.post(url, data, content_type={HEADER.removeprefix("Content-Type: ")!r})
stranger = post({WRONG!r})
client.force_login(User.objects.get())
sent, refused = post({{"note_id": "1", "text": "Cats sleep."}}), post({WRONG!r})
message = OutboxMessage.objects.get()
assert (message.kwargs, sent.json()) == ('{{"note_id":"1","text":"Cats sleep."}}', {{"id": str(message.pk)}})
assert client.get(schema).json() == TaskDefinition.objects.get(name=message.task_name).parameters
codes = [each.status_code for each in (stranger, sent, refused)]
"""


def serve(project: Project, block: Block, name: str) -> None:
    """Write the module of a block, and its line of urls.py."""
    project.write(block.file, block.text)
    [path] = re.findall(r"in urls.py: (.+)", block.text)
    module = block.file.removesuffix(".py").replace("/", ".")
    project.append("mysite/urls.py", f"from {module} import {name}\nurlpatterns += [{path}]")


def test_with_django_ninja_it_sends_and_tells_the_status(project: Project) -> None:
    serve(project, NINJA, "api")
    url = URL.removeprefix("…")
    asked = f"url, schema = {url!r}, '{url}/schema'"
    status = "client.get(f'{url}/{message.pk}').json()"
    codes, refused, told = project.run(asked, ASK, f"answer([codes, refused.json(), {status}])")
    assert (codes, refused) == ([401, 202, 422], json.loads(SHOWN))
    assert told == {"status": "pending", "handled_at": None}


def test_with_rest_framework_it_sends(project: Project) -> None:
    serve(project, REST, "Summaries")
    codes, refused = project.run("url = schema = '/summaries'", ASK, "answer([codes, refused.json()])")
    assert (codes, refused) == ([403, 202, 400], json.loads(SHOWN))
