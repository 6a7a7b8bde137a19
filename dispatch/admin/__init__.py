"""The admin pages: what operators configure, and the log of what was sent."""

from dispatch.admin import messages, registry, tasks, triggers

__all__ = ["messages", "registry", "tasks", "triggers"]
