"""How one talks to a single broker, worker or result backend, by the only importer of Celery and kombu; not rows, nor
which queues an operator means (``queues``). What a process needs to start, save and send imports this room, and what
stands on it, inside the functions that use it.
"""
