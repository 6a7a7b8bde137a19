"""Plain Python: no Django, no Celery, no input or output."""
