"""The scanner itself: it finds what lies there, in files, across pieces, and in the memory of another process."""

from __future__ import annotations

import base64
import secrets
import subprocess
import sys
import time
from pathlib import Path

import cv2
import numpy as np
import pytest

from tests.forensic.canaries import WINDOW, Flock, a_noise, a_text
from tests.forensic.needles import Needles
from tests.forensic.places import PIECE_BYTES, Piece, environment, files_below, memory, nameless, of_file
from tests.forensic.scan import Place, scan


def a_flock(*texts: str) -> Flock:
    flock = Flock()
    for text in texts:
        flock.add("text", text.encode())
    return flock


def whole(flock: Flock, data: bytes) -> Place:
    (place,) = scan(flock, [("here", [Piece(data, joined=False, where="here")])])
    return place


class TestNeedles:
    @pytest.mark.parametrize("shift", range(17))
    def test_a_needle_is_found_wherever_it_begins(self, shift: int) -> None:
        needle = secrets.token_bytes(16)
        assert Needles([needle]).find(secrets.token_bytes(shift) + needle + b"end") == [(shift, 0)]

    def test_all_that_share_a_prefix_are_told_apart(self) -> None:
        needles = [b"samestartA" + bytes(6), b"samestartB" + bytes(6), b"samestartC" + bytes(6)]
        data = needles[2] + b"-" + needles[0]
        assert sorted(Needles(needles).find(data)) == [(0, 2), (17, 0)]

    def test_half_a_needle_is_none(self) -> None:
        needle = secrets.token_bytes(16)
        assert Needles([needle]).find(needle[:15] + b"\0") == []

    def test_a_short_needle_is_refused(self) -> None:
        with pytest.raises(ValueError, match="at least 16 bytes"):
            Needles([b"short"])


class TestForms:
    @pytest.mark.parametrize("skip", range(3))
    def test_base64_wherever_it_began(self, skip: int) -> None:
        flock = a_flock(text := a_text())
        coded = base64.b64encode(secrets.token_bytes(skip) + text.encode())
        assert {flock.needles[i].form for i in whole(flock, coded).hits} == {"base64"}

    def test_hex(self) -> None:
        flock = a_flock(text := a_text())
        assert {flock.needles[i].form for i in whole(flock, text.encode().hex().encode()).hits} == {"hex"}

    def test_pixels(self) -> None:
        flock = Flock()
        flock.add_media("photo", media := a_noise())
        pixels = cv2.imdecode(np.frombuffer(media, np.uint8), cv2.IMREAD_COLOR)
        assert pixels is not None
        found = {flock.needles[i].form for i in whole(flock, pixels.tobytes()).hits}
        assert found == {"pixels"}
        assert len(whole(flock, media).canaries(flock)) >= len(media) // 64 - 2

    def test_a_part_of_a_text_is_enough(self) -> None:
        flock = a_flock(text := a_text())
        assert whole(flock, text.encode()[WINDOW : 2 * WINDOW]).canaries(flock) == {0}


class TestPlaces:
    def test_across_two_pieces_once(self, tmp_path: Path) -> None:
        flock = a_flock(text := a_text())
        (tmp_path / "deep").mkdir()
        (tmp_path / "deep" / "file").write_bytes(bytes(PIECE_BYTES - 8) + text.encode() + bytes(100))
        (place,) = scan(flock, [("folder", of_file(path)) for path in files_below(tmp_path)])
        assert set(place.hits.values()) == {1}
        assert len(place.hits) == 3
        assert place.size == PIECE_BYTES - 8 + 48 + 100

    def test_the_memory_of_another_process_and_its_nameless_file(self) -> None:
        flock = a_flock(kept := a_text(), filed := a_text(), a_text())
        with subprocess.Popen(
            [sys.executable, "-m", "tests.forensic.leak"], stdin=subprocess.PIPE, stdout=subprocess.PIPE
        ) as process:
            assert process.stdin is not None
            assert process.stdout is not None
            process.stdin.write(f"{kept}\n{filed}\n".encode())
            process.stdin.flush()
            assert process.stdout.readline() == b"ready\n"
            (held,) = scan(flock, [("memory", memory(process.pid))])
            (file,) = scan(flock, [("file", of_file(path)) for path in nameless(process.pid)])
            process.stdin.close()
        assert 0 in held.canaries(flock)
        assert file.canaries(flock) == {1}
        assert 2 not in held.canaries(flock)


def test_the_environment_of_a_process_is_read_as_it_was_given() -> None:
    """glibc's loader cuts GLIBC_TUNABLES into pieces where it lies."""
    given = {"GLIBC_TUNABLES": "glibc.malloc.perturb=165:glibc.malloc.tcache_count=0", "OTHER": "a=b:c"}
    with subprocess.Popen(["sleep", "60"], env=given) as child:
        try:
            while not (found := environment(child.pid)).get("OTHER"):
                time.sleep(0.01)
            assert found == given
        finally:
            child.kill()
