"""Task registry, routing and a transactional outbox for Celery, kept in the Django admin database."""

__version__ = "0.1.0"
