"""What a broker needs beside its URL."""

from __future__ import annotations

from typing import Any


def broker_conf(folder: str) -> dict[str, Any]:
    """Return the Celery settings of `filesystem://`, whose URL cannot name its folder."""
    if not folder:
        return {}
    # What one side writes is what the other reads: the worker names the same folder for both directions.
    options = {"data_folder_in": folder, "data_folder_out": folder, "control_folder": f"{folder}/control"}
    return {"broker_transport_options": options}
