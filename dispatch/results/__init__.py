"""Brings results home: from the worker's own result backend into django-celery-results, each handled once.

The sweep over the messages that still await a result is the truth: what finished while the collector was down is found
too. A worker that writes to ``django-db`` itself has stored its TaskResult already; then that table is watched.
"""

from __future__ import annotations

from dispatch.results.collector import Collector

__all__ = ["Collector"]
