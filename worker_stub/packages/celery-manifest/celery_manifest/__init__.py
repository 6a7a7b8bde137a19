"""What a Celery worker offers, as one JSON document, for senders that must not import its code.

    from celery_manifest import install

    app = Celery("worker", …)
    install(app, version=__version__)

`celery -A worker manifest` then writes the document, and a running worker answers the remote-control command
`manifest` with it. `build` and `encode` make it in Python.
"""

from celery_manifest.checksum import checksum
from celery_manifest.document import build, encode
from celery_manifest.errors import ManifestError
from celery_manifest.live import install

__version__ = "0.1.0"

__all__ = ["ManifestError", "build", "checksum", "encode", "install"]
