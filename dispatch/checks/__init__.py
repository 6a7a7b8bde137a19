"""System checks: what is wrong with the settings or the registry, each with a hint one can act on."""

from dispatch.checks import brokers, installation, outbox, registry_rows

__all__ = ["brokers", "installation", "outbox", "registry_rows"]
