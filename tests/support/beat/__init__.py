"""A web project that has django-celery-beat."""
