"""Attacks on the decoder (A-10): each ends as a reason, nothing else notices, and the next image is decoded."""

import os
import resource
import signal
import subprocess
import sys
import time
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from contextlib import suppress
from pathlib import Path

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from convergence.errors import ImageRefused, ObjectError
from convergence.objects.images import MOST_BYTES, ImageDecoder
from tests.convergence.objects.pictures import SVG, encoded, frames, long_gif, long_text, noise, png

GOOD = encoded(noise(), "PNG")
UNKNOWN = "not an image of a known format"
PATIENT = 60.0  # seconds: a busy machine is not what these tests are about


@pytest.fixture(scope="module")
def decoder() -> Iterator[ImageDecoder]:
    with ImageDecoder(within=PATIENT) as opened:
        yield opened


def reason(decoder: ImageDecoder, content: bytes) -> str:
    with pytest.raises(ImageRefused) as described:
        decoder.describe(content)
    return described.value.reason


def works(decoder: ImageDecoder) -> bool:
    return decoder.describe(GOOD)[:3] == ("PNG", 40, 30) and decoder.pixels(GOOD, size=8).shape == (8, 8, 3)


ATTACKS = {
    "header bomb": (png(50_000, 50_000, rows=False), "50000 x 50000 pixels, at most 40000000"),
    "just too large": (png(40_000_001, 1, rows=False), "40000001 x 1 pixels, at most 40000000"),
    "no pixels behind the header": (png(5_000, 5_000, rows=False), "truncated"),
    "half a JPEG": (encoded(noise(400, 300), "JPEG")[:20_000], "truncated"),
    "half a PNG": (GOOD[: len(GOOD) // 2], "truncated"),
    "half a WebP": (encoded(noise(400, 300), "WEBP")[:20_000], "damaged"),
    "a head only": (encoded(noise(), "JPEG")[:20], UNKNOWN),
    "random bytes": (np.random.default_rng(0).bytes(10_000), UNKNOWN),
    "nothing": (b"", "empty"),
    "too many bytes": (bytes(MOST_BYTES + 1), "30000001 bytes, at most 30000000"),
    "SVG with an external entity": (SVG, UNKNOWN),
    "SVG behind the first bytes of a PNG": (GOOD[:8] + SVG, UNKNOWN),
    "TIFF of 1000 pages": (frames("TIFF", 1000), UNKNOWN),
    "PostScript, which other decoders run": (b"%!PS-Adobe-3.0 EPSF-3.0\n%%BoundingBox: 0 0 9 9\n", UNKNOWN),
    "text bomb": (long_text(), "damaged"),
}


@pytest.mark.parametrize("attack", ATTACKS)
def test_an_attack_is_refused_with_its_reason_by_the_same_process_that_then_goes_on(
    decoder: ImageDecoder, attack: str
) -> None:
    content, why = ATTACKS[attack]
    assert works(decoder)
    before = decoder.pid
    assert reason(decoder, content) == why
    with pytest.raises(ImageRefused, match=why):
        decoder.pixels(content, size=224)
    assert works(decoder)
    assert decoder.pid == before


def test_the_content_decides_what_an_image_is_and_no_name_does(decoder: ImageDecoder, tmp_path: Path) -> None:
    lie = tmp_path / "photo.jpg"
    lie.write_bytes(GOOD)
    assert decoder.describe(lie.read_bytes()).format == "PNG"


@pytest.mark.parametrize("content", [long_gif(100_000), frames("PNG", 300), frames("WEBP", 300)], ids=len)
def test_very_many_frames_cost_no_more_than_one(decoder: ImageDecoder, content: bytes) -> None:
    began = time.monotonic()
    assert decoder.describe(content).thumbnail
    assert time.monotonic() - began < 5


def test_a_bomb_within_the_limit_of_pixels_that_needs_too_much_memory_is_refused() -> None:
    bomb = png(6_000, 6_000)
    assert len(bomb) < 150_000
    with ImageDecoder(within=PATIENT, memory=160 * 2**20) as small:
        assert reason(small, bomb) == "needed too much memory"
        assert works(small)


def test_a_bomb_that_needs_too_much_time_is_killed_and_the_next_image_is_decoded() -> None:
    with ImageDecoder(within=PATIENT) as hasty:
        assert works(hasty)
        first = hasty.pid
        hasty.within = 0.05  # forty million pixels take longer on any machine
        assert reason(hasty, png(6_300, 6_300)) == "took longer than 0.05 s"
        hasty.within = PATIENT
        assert works(hasty)
        assert hasty.pid != first


@pytest.mark.parametrize("content", [GOOD, GOOD + bytes(20_000_000)], ids=["small", "larger than a pipe"])
def test_a_child_that_hangs_is_killed_and_the_next_image_is_decoded(content: bytes) -> None:
    with ImageDecoder(within=0.5) as hasty:
        assert works(hasty)
        stopped = hasty.pid
        assert stopped
        os.kill(stopped, signal.SIGSTOP)
        began = time.monotonic()
        assert reason(hasty, content) == "took longer than 0.5 s"
        assert time.monotonic() - began < 5
        assert not Path(f"/proc/{stopped}").exists()
        hasty.within = PATIENT
        assert works(hasty)


def test_a_child_that_dies_over_an_image_is_replaced() -> None:
    with ImageDecoder(within=PATIENT) as decoder, ThreadPoolExecutor(1) as thread:
        assert works(decoder)
        assert decoder.pid
        os.kill(decoder.pid, signal.SIGSTOP)
        refused = thread.submit(reason, decoder, GOOD)
        time.sleep(0.2)
        os.kill(decoder.pid, signal.SIGKILL)
        assert refused.result() == "crashed the decoder"
        assert works(decoder)


def test_a_child_that_dies_between_images_costs_none_of_them() -> None:
    with ImageDecoder(within=PATIENT) as decoder:
        assert works(decoder)
        assert decoder.pid
        os.kill(decoder.pid, signal.SIGKILL)
        os.waitid(os.P_PID, decoder.pid, os.WEXITED | os.WNOWAIT)
        assert works(decoder)


@pytest.mark.parametrize("answer", [
    b'{"format": "PNG", "width": 40, "height": 30}', b'{"format": "EXE", "width": 1, "height": 1}', b"[", b"7",
    b'{"format": "PNG", "width": "1", "height": 1}', b'{"format": "PNG", "width": 10000000, "height": 10000000}',
])  # fmt: skip
def test_a_child_that_was_taken_over_is_not_believed(
    answer: bytes, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    liar = tmp_path / "liar.py"
    reply = b"ready\n" + len(answer).to_bytes(4, "big") + (9).to_bytes(4, "big") + answer + b"<script>x"
    liar.write_text(f"import sys; sys.stdout.buffer.write({reply!r}); sys.stdout.flush(); sys.stdin.read()")
    monkeypatch.setattr("convergence.objects.decoder.__file__", str(liar))
    with ImageDecoder(within=PATIENT) as decoder:
        assert reason(decoder, GOOD) == "crashed the decoder"
        assert decoder.pid is None


def test_the_child_can_open_nothing_and_sees_no_secret(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("AWS_SECRET_ACCESS_KEY", "SECRET")
    with ImageDecoder(within=PATIENT) as decoder:
        assert works(decoder)
        assert decoder.pid
        limit = {name: resource.prlimit(decoder.pid, getattr(resource, f"RLIMIT_{name}")) for name in
                 ("AS", "FSIZE", "NOFILE", "CORE", "NPROC")}  # fmt: skip
        assert limit == {"AS": (2**30, 2**30), "FSIZE": (0, 0), "NOFILE": (3, 3), "CORE": (0, 0), "NPROC": (0, 0)}
        process = Path(f"/proc/{decoder.pid}")
        assert b"SECRET" not in (process / "environ").read_bytes()
        assert len(list((process / "fd").iterdir())) == 3
        assert (process / "cwd").readlink() == Path("/")


def test_no_file_is_written_and_nothing_is_left_behind(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(tmp_path)
    monkeypatch.setenv("TMPDIR", str(tmp_path))
    open_before = len(list(Path("/proc/self/fd").iterdir()))
    with ImageDecoder(within=PATIENT) as decoder:
        for content, _ in ATTACKS.values():
            reason(decoder, content)
        pid = decoder.pid
    assert list(tmp_path.iterdir()) == []
    assert len(list(Path("/proc/self/fd").iterdir())) == open_before
    assert not Path(f"/proc/{pid}").exists()


def test_a_child_ends_by_itself_when_the_one_who_asked_is_gone() -> None:
    program = f"""if True:
        import os
        from convergence.objects.images import ImageDecoder
        decoder = ImageDecoder()
        decoder.describe({GOOD!r})
        print(decoder.pid, flush=True)
        os._exit(1)"""
    pid = subprocess.run([sys.executable, "-c", program], capture_output=True, text=True, check=False).stdout.strip()
    until = time.monotonic() + 20
    while Path(f"/proc/{pid}").exists() and time.monotonic() < until:
        time.sleep(0.01)
    assert pid.isdigit()
    assert not Path(f"/proc/{pid}").exists()


def test_where_the_decoder_cannot_start_no_image_is_blamed(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    broken = tmp_path / "broken.py"
    broken.write_text("import no_such_library")
    monkeypatch.setattr("convergence.objects.decoder.__file__", str(broken))
    with ImageDecoder() as decoder, pytest.raises(ObjectError, match=r"does not start \(exit code 1\)") as error:
        decoder.describe(GOOD)
    assert not isinstance(error.value, ImageRefused)


@pytest.mark.parametrize("size", [0, -1, 2049])
def test_a_size_that_cannot_be_had_is_refused_before_it_is_tried(decoder: ImageDecoder, size: int) -> None:
    with pytest.raises(ObjectError, match=f"1 to 2048, .*asked for {size}"):
        decoder.pixels(GOOD, size=size)


@pytest.mark.parametrize(
    "asked", [{"fit": "tile"}, {"resample": "nearest"}, {"shorter_side": 7}, {"shorter_side": 2049}]
)
def test_a_way_of_fitting_that_is_not_known_is_refused(decoder: ImageDecoder, asked: dict) -> None:
    with pytest.raises(ObjectError, match="asked for 8"):
        decoder.pixels(GOOD, size=8, **asked)


def test_threads_that_share_a_decoder_get_each_their_own_answer(decoder: ImageDecoder) -> None:
    images = [encoded(noise(10 + n, 20), "PNG") for n in range(20)]
    with ThreadPoolExecutor(4) as threads:
        assert [facts.width for facts in threads.map(decoder.describe, images)] == [10 + n for n in range(20)]


WHOLE = [encoded(noise(), kind) for kind in ("JPEG", "PNG", "WEBP", "GIF")]


@settings(deadline=None, max_examples=60)
@given(st.sampled_from(WHOLE), st.lists(st.tuples(st.floats(0, 1, exclude_max=True), st.integers(0, 255)), max_size=9))
def test_damage_anywhere_is_refused_or_decoded_and_never_crashes(
    decoder: ImageDecoder, whole: bytes, changes: list[tuple[float, int]]
) -> None:
    assert works(decoder)
    content = bytearray(whole)
    for where, value in changes:
        content[int(where * len(content))] = value
    before = decoder.pid
    with suppress(ImageRefused):
        assert decoder.describe(bytes(content)).thumbnail
    assert decoder.pid == before
