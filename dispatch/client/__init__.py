"""The only importer of Celery and kombu: send-only apps, topology, publishing, results."""
