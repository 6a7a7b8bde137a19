from __future__ import annotations

import math
import struct
import wave
from pathlib import Path

import pytest
from hypothesis import given
from hypothesis import strategies as st

from worker.audio import Measurement, UnreadableAudioError, measure, samples

FULL_SCALE_SINE = -3.0


def encode(value: int, width: int) -> bytes:
    return bytes([value + 128]) if width == 1 else value.to_bytes(width, "little", signed=True)


def write_sine(
    path: Path, width: int, *, amplitude: float = 1.0, channels: int = 1, rate: int = 16_000
) -> str:
    top = (2 ** (8 * width - 1) - 1) * amplitude
    with wave.open(str(path), "wb") as file:
        file.setparams((channels, width, rate, 0, "NONE", ""))
        values = (round(top * math.sin(2 * math.pi * 440 * n / rate)) for n in range(rate // 2))
        file.writeframes(b"".join(encode(value, width) * channels for value in values))
    return str(path)


@pytest.mark.parametrize("width", [1, 2, 3, 4])
def test_a_full_scale_sine_has_three_decibels_less_at_every_sample_width(tmp_path, width):
    found = measure(write_sine(tmp_path / "sine.wav", width))
    assert found == Measurement(
        duration=0.5, channels=1, rate=16_000, dbfs=pytest.approx(FULL_SCALE_SINE, abs=0.15)
    )


@pytest.mark.parametrize("width", [2, 3, 4])
def test_a_tenth_of_the_amplitude_is_twenty_decibels_quieter(tmp_path, width):
    found = measure(write_sine(tmp_path / "quiet.wav", width, amplitude=0.1))
    assert found.dbfs == pytest.approx(FULL_SCALE_SINE - 20, abs=0.1)


def test_all_channels_count_but_do_not_lengthen(tmp_path):
    found = measure(write_sine(tmp_path / "stereo.wav", 2, channels=2, rate=44_100))
    assert (found.duration, found.channels) == (0.5, 2)
    assert str(found) == "0.5 s, stereo, 44.1 kHz, loudness \N{MINUS SIGN}3.0 dBFS"


def test_silence_has_no_loudness(tmp_path):
    found = measure(write_sine(tmp_path / "silence.wav", 2, amplitude=0))
    assert found.dbfs is None
    assert str(found) == "0.5 s, mono, 16 kHz, silent"


def test_a_recording_cut_short_is_as_long_as_what_is_there(tmp_path):
    path = tmp_path / "cut.wav"
    write_sine(path, 2)
    path.write_bytes(path.read_bytes()[: 44 + 16_000 // 4 * 2])
    assert measure(str(path)).duration == 0.25


def test_floating_point_audio_is_refused_with_cause_and_remedy(tmp_path):
    path = tmp_path / "float.wav"
    fmt = struct.pack("<HHIIHH", 3, 1, 16_000, 64_000, 4, 32)
    path.write_bytes(
        b"RIFF" + struct.pack("<I", 36) + b"WAVEfmt " + struct.pack("<I", 16) + fmt + b"data\0\0\0\0"
    )
    with pytest.raises(UnreadableAudioError, match=r"unknown format: 3.*convert it first"):
        measure(str(path))


@pytest.mark.parametrize("content", [b"", b"ID3 an mp3 file, really", b"RIFF\0\0\0\0WAVE"])
def test_what_is_no_wav_file_is_refused(tmp_path, content):
    path = tmp_path / "song.wav"
    path.write_bytes(content)
    with pytest.raises(UnreadableAudioError, match=r"song\.wav' is not a WAV file"):
        measure(str(path))


def test_a_missing_file_stays_an_os_error_so_that_it_can_be_retried(tmp_path):
    with pytest.raises(FileNotFoundError):
        measure(str(tmp_path / "later.wav"))


@given(position=st.integers(0, 43), value=st.integers(0, 255))
def test_a_damaged_header_is_measured_or_refused_but_never_crashes(tmp_path_factory, position, value):
    path = tmp_path_factory.mktemp("damaged") / "a.wav"
    with wave.open(str(path), "wb") as file:
        file.setparams((1, 2, 8000, 0, "NONE", ""))
        file.writeframes(b"\1\2" * 50)
    data = bytearray(path.read_bytes())
    data[position] = value
    path.write_bytes(data)
    try:
        found = measure(str(path))
    except UnreadableAudioError:
        return
    assert found.duration >= 0
    assert found.dbfs is None or math.isfinite(found.dbfs)


@given(st.sampled_from([1, 2, 3, 4]), st.data())
def test_samples_come_back_as_they_were_written(width, data):
    limit = 2 ** (8 * width - 1)
    values = data.draw(st.lists(st.integers(-limit, limit - 1), max_size=20))
    assert list(samples(b"".join(encode(value, width) for value in values), width)) == values
