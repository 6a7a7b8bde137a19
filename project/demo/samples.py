"""Real input, made on the spot."""

from __future__ import annotations

import math
import struct
import wave
from pathlib import Path

TEXT = """\
The harbour of Valparaíso was built for sailing ships that rounded Cape Horn. When the Panama Canal
opened in 1914, most of those ships stopped coming. The harbour lost its trade, and the city lost the
people who had lived by it. The funiculars on its hills kept running all the same, because the hills had
not moved. Today the harbour lives by containers and fruit, and the hills by visitors who come to see the
funiculars. Some of them also look at the sea.
"""

RATE = 16_000


def write_tone(path: Path, seconds: float = 2.0, hertz: float = 440.0, volume: float = 0.2) -> Path:
    """Write a mono WAV file with one tone."""
    frames = (volume * math.sin(2 * math.pi * hertz * i / RATE) for i in range(int(seconds * RATE)))
    with wave.open(str(path), "wb") as sound:
        sound.setnchannels(1)
        sound.setsampwidth(2)
        sound.setframerate(RATE)
        sound.writeframes(b"".join(struct.pack("<h", round(32_767 * frame)) for frame in frames))
    return path


def write_page(path: Path) -> Path:
    """Write an HTML file with a title."""
    path.write_text(
        "<!doctype html><html><head><title>Tides of the week</title></head><body>High at noon.</body></html>",
        encoding="utf-8",
    )
    return path
