"""What ``--help`` gives as examples: the arguments of each subcommand, as one types them."""

from __future__ import annotations

EXAMPLES: dict[str, tuple[str, ...]] = {
    "relay": ("", "--once", "--metrics 9464"),
    "results": ("", "--once"),
    "run": ("",),
    "status": ("", "--watch", "--check relay", "--max-age 30 --format json"),
    "messages list": (
        "--status dead",
        "--task worker.tasks.llm.summarize_note --newer-than 1h",
        "--queue llm --format json",
    ),
    "messages show": ("01a1fb0e-5c4e-791b-8e69-b3fc99ff7f97",),
    "messages requeue": ("--status dead --task worker.tasks.link.preview_links",),
    "messages cancel": ("--task worker.tasks.link.preview_links --newer-than 1h",),
    "messages revoke": ("01a1fb0e-5c4e-791b-8e69-b3fc99ff7f97 --terminate",),
    "messages prune": ("", "--status dead --older-than 30d --yes"),
    "manifest sync": ("manifest.json --dry-run", "manifest.json --refuse-breaking", "--live"),
    "manifest show": ("", "--format asyncapi"),
    "verify": ("", "--live", "--manifest manifest.json --strict --format json", "--ignore C056:default"),
    "stubs": ("-o tasks.py", "-o tasks.py --check"),
    "routes list": ("",),
    "routes explain": ("worker.tasks.llm.summarize_note",),
    "routes export": ("routing.json",),
    "triggers list": ("",),
    "triggers preview": ("'Summarise text notes' 42",),
    "config export": ("configuration.json",),
    "config import": ("configuration.json --dry-run", "configuration.json --prune --yes"),
    "config import-celery": ("proj.celery:app --dry-run",),
    "queues list": ("",),
    "queues peek": ("llm --limit 3",),
    "queues declare": ("", "llm"),
    "queues delete": ("llm",),
    "queues purge": ("llm", "llm stt --yes"),
    "queues pause": ("llm",),
    "queues resume": ("llm",),
    "queues apply": ("--dry-run", "llm --worker celery@host1"),
    "worker-command": ("", "llm stt --app worker"),
    "acl": ("", "| grep ^ACL | redis-cli", "| grep ^rabbitmqctl | sh"),
    "groups": ("",),
}


def with_examples(text: str, prog: str) -> str:
    """Return the help of a program such as ``manage.py dispatch queues purge`` with its examples at the end."""
    examples = EXAMPLES.get(prog.partition(" dispatch ")[2], ())
    lines = (f"  {prog} {arguments}".rstrip() + "\n" for arguments in examples)
    return f"{text}\nexamples:\n{''.join(lines)}" if examples else text
