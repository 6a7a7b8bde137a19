"""The only importer of Celery and kombu: send-only apps, topology, publishing, results.

A web process that only saves and sends needs none of it, so what such a process imports (``api``, ``outbox``, the pages
of ``admin``) imports this room, and what stands on it, inside the functions that use it.
"""
