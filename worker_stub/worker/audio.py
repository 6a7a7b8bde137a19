"""Length and loudness of a PCM WAV file, by the standard library alone."""

from __future__ import annotations

import math
import sys
import wave
from array import array
from collections.abc import Iterator
from dataclasses import dataclass
from operator import mul

FRAMES_AT_ONCE = 1 << 16
ARRAY_TYPES = {1: "B", 2: "h", 4: "i"}


class UnreadableAudioError(ValueError):
    """The file is there but is no WAV file that can be measured."""


@dataclass(frozen=True)
class Measurement:
    """What was found: seconds, channels, frames a second, and loudness in dBFS (None for silence).

    Loudness is the RMS of all samples of all channels relative to full scale: a square wave at full scale
    has 0 dBFS, a sine -3.01.
    """

    duration: float
    channels: int
    rate: int
    dbfs: float | None

    def __str__(self) -> str:
        loudness = (
            "silent" if self.dbfs is None else f"loudness {self.dbfs:.1f} dBFS".replace("-", "\N{MINUS SIGN}")
        )
        return f"{self.duration:.1f} s, {_channels(self.channels)}, {self.rate / 1000:g} kHz, {loudness}"


def measure(path: str) -> Measurement:
    """Measure a WAV file of 8, 16, 24 or 32 bit PCM.

    Raises OSError when it cannot be opened, UnreadableAudioError when it is something else.
    """
    try:
        with wave.open(path, "rb") as source:
            return _measured(source)
    except (wave.Error, EOFError, ValueError, RuntimeError) as error:
        cause = str(error) or "the file ends too early"
        raise UnreadableAudioError(
            f"{path!r} is not a WAV file of 8, 16, 24 or 32 bit PCM ({cause}): convert it first, "
            "for example by `ffmpeg -i INPUT -c:a pcm_s16le OUTPUT.wav`."
        ) from None


def _measured(source: wave.Wave_read) -> Measurement:
    width, channels, rate = source.getsampwidth(), source.getnchannels(), source.getframerate()
    if rate < 1 or width > 4:
        raise ValueError(f"{8 * width} bit at {rate} Hz")
    count, squares = 0, 0
    for values in _blocks(source, width):
        count += len(values)
        squares += sum(map(mul, values, values))
    duration = round(count / channels / rate, 3)
    return Measurement(duration, channels, rate, _dbfs(squares, count, 8 * width))


def _blocks(source: wave.Wave_read, width: int) -> Iterator[array[int]]:
    while data := source.readframes(FRAMES_AT_ONCE):
        yield samples(data[: len(data) - len(data) % width], width)


def samples(data: bytes, width: int) -> array[int]:
    """Return PCM of 1 to 4 bytes a sample, in the byte order of `wave`, as integers around zero."""
    if width == 3:
        return array("i", (value >> 8 for value in samples(_widened(data), 4)))
    values = array(ARRAY_TYPES[width])
    values.frombytes(data)
    if width == 1:  # WAV stores 8 bit, and only 8 bit, unsigned
        return array("h", (value - 128 for value in values))
    return values


def _widened(data: bytes) -> bytes:
    """Put a zero byte below each 24-bit sample, which makes it a 32-bit one."""
    wide = bytearray(len(data) // 3 * 4)
    lowest = 1 if sys.byteorder == "little" else 0
    for byte in range(3):
        wide[byte + lowest :: 4] = data[byte::3]
    return bytes(wide)


def _dbfs(squares: int, count: int, bits: int) -> float | None:
    if not squares:
        return None
    return round(20 * math.log10(math.sqrt(squares / count) / 2 ** (bits - 1)), 1) + 0.0


def _channels(count: int) -> str:
    return {1: "mono", 2: "stereo"}.get(count, f"{count} channels")
