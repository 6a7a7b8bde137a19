"""The manifest: what this worker offers, for a sender that must not import it.

`document` describes the tasks of an app, `parameters` makes a JSON Schema from a signature, `command` is
`celery -A worker manifest`. Nothing here knows the tasks of this repo: copy the folder, and
`worker/checksum.py`.
"""
