from __future__ import annotations

import json
import wave

import pytest
from celery.exceptions import Retry

from worker.app import app
from worker.audio import UnreadableAudioError
from worker.tasks.link import preview_links
from worker.tasks.llm import summarize_note
from worker.tasks.ops import FailedOnDemandError, fail_on_demand
from worker.tasks.stt import transcribe_audio


@pytest.fixture
def recording(tmp_path):
    path = tmp_path / "memo.wav"
    with wave.open(str(path), "wb") as file:
        file.setparams((1, 2, 16_000, 0, "NONE", ""))
        file.writeframes((b"\x00\x10" + b"\x00\xf0") * 16_000)
    return str(path)


def test_summarize_note_returns_summary_and_words():
    assert summarize_note(note_id="7", text="Celery works. We like it.", sentences=1) == {
        "note_id": "7",
        "summary": "Celery works.",
        "words": 5,
    }


def test_transcribe_audio_returns_what_was_measured(recording):
    found = transcribe_audio(note_id="7", path=recording)
    assert found == {
        "note_id": "7",
        "summary": "2.0 s, mono, 16 kHz, loudness \N{MINUS SIGN}18.1 dBFS",
        "duration": 2.0,
        "channels": 1,
        "rate": 16_000,
        "dbfs": -18.1,
    }


def test_preview_links_counts_and_names_them():
    found = preview_links(note_id="7", text="https://a.example/1 and https://b.example/2")
    assert found["summary"] == "2 links: a.example, b.example"
    assert found["links"][1] == {"url": "https://b.example/2", "title": "b.example"}


@pytest.mark.parametrize(
    ("count", "summary"),
    [
        (0, "no links"),
        (1, "1 link: h0.example"),
        (7, "7 links: h0.example, h1.example, h2.example, h3.example, h4.example and 2 more"),
    ],
)
def test_preview_links_is_short_whatever_the_number(count, summary):
    text = " ".join(f"https://h{n}.example" for n in range(count))
    assert preview_links(note_id="7", text=text)["summary"] == summary


def test_results_are_json(recording):
    for result in (
        summarize_note("7", "A. B."),
        transcribe_audio("7", recording),
        preview_links("7", "https://a.example"),
    ):
        assert json.loads(json.dumps(result, allow_nan=False)) == result


def test_fail_on_demand_fails_with_its_reason():
    outcome = fail_on_demand.apply(kwargs={"note_id": "7", "reason": "drill"})
    assert outcome.state == "FAILURE"
    assert isinstance(outcome.result, FailedOnDemandError)
    assert str(outcome.result) == "Note 7 failed on demand: drill"


def test_fail_on_demand_retries_as_often_as_asked_and_then_fails():
    for already, expected in ((0, Retry), (1, Retry), (2, FailedOnDemandError)):
        fail_on_demand.push_request(retries=already, called_directly=False, is_eager=True)
        try:
            with pytest.raises(expected):
                fail_on_demand.run(note_id="7", retries=2)
        finally:
            fail_on_demand.pop_request()


def test_a_recording_that_is_not_there_yet_is_tried_again_and_then_given_up(tmp_path):
    tries = []

    def appear_late(path):
        tries.append(path)
        raise FileNotFoundError(2, "No such file", path)

    with pytest.MonkeyPatch.context() as patch:
        patch.setattr("worker.tasks.stt.measure", appear_late)
        outcome = transcribe_audio.apply(kwargs={"note_id": "7", "path": str(tmp_path / "later.wav")})
    assert outcome.state == "FAILURE"
    assert isinstance(outcome.result, FileNotFoundError)
    assert len(tries) == 1 + transcribe_audio.max_retries


def test_a_recording_of_the_wrong_kind_is_not_tried_again(tmp_path):
    path = tmp_path / "song.mp3"
    path.write_bytes(b"ID3")
    outcome = transcribe_audio.apply(kwargs={"note_id": "7", "path": str(path)})
    assert isinstance(outcome.result, UnreadableAudioError)


def test_the_worker_offers_exactly_the_agreed_names():
    app.loader.import_default_modules()
    assert sorted(name for name in app.tasks if not name.startswith("celery.")) == [
        "worker.tasks.ledger.credit_account",
        "worker.tasks.link.preview_links",
        "worker.tasks.llm.summarize_note",
        "worker.tasks.ops.fail_on_demand",
        "worker.tasks.stt.transcribe_audio",
    ]
