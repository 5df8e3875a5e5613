"""Images of strangers, decoded in a child process: whatever a file does there, it ends as a reason to refuse it.

The child is killed when an image takes too long, and replaced when it is gone; it is believed no more than the image:
what it answers is checked for its form and size.
"""

import json
import subprocess
import sys
import time
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from dataclasses import dataclass, field
from threading import Lock, Timer
from types import TracebackType
from typing import TYPE_CHECKING, Any, NamedTuple

from convergence.errors import ImageRefused, ObjectError
from convergence.objects import decoder

if TYPE_CHECKING:
    import numpy as np
    from numpy.typing import NDArray

MOST_BYTES = 30_000_000
MOST_SIDE = 2048  # pixels that can be asked for
_STARTS_WITHIN = 60.0  # seconds; on a quiet machine it takes 0.2
_MOST_FACTS, _MOST_THUMBNAIL = 1_000, 1_000_000  # bytes of an answer


class ImageFacts(NamedTuple):
    """Format (JPEG, PNG, WEBP, GIF), size in pixels as shown, and a JPEG of at most 256 pixels without metadata."""

    format: str
    width: int
    height: int
    thumbnail: bytes


@dataclass
class ImageDecoder:
    """Decodes one image at a time in a child process that lives as long as the `with` block; threads take turns.

    within: seconds for one image, at most 60. memory: bytes of address space of the child.
    """

    within: float = 5.0
    memory: int = 2**30
    _turn: Lock = field(default_factory=Lock, init=False, repr=False)
    _child: "subprocess.Popen[bytes] | None" = field(default=None, init=False, repr=False)

    def __enter__(self) -> "ImageDecoder":
        return self

    def __exit__(self, kind: type[BaseException] | None, error: BaseException | None, at: TracebackType | None) -> None:
        with self._turn:
            self._end()

    @property
    def pid(self) -> int | None:
        """The process that decodes; None until the first image, and after one that killed it."""
        return self._child.pid if self._child else None

    def describe(self, content: bytes) -> ImageFacts:
        """What the image is. Raises ImageRefused with the reason; ObjectError if the child does not start."""
        facts, thumbnail = self._ask(content, size=0, most=_MOST_THUMBNAIL)
        return ImageFacts(facts["format"], facts["width"], facts["height"], thumbnail)

    def pixels(self, content: bytes, *, size: int) -> "NDArray[np.uint8]":
        """The middle of the image, (size, size, 3), RGB: the shorter side is resized to `size`, at most 2048.

        Transparent parts are white. Raises ImageRefused with the reason; ObjectError for another size, or if the child
        does not start.
        """
        import numpy as np

        if not 1 <= size <= MOST_SIDE:
            raise ObjectError(f"pixels can be had in squares with a side of 1 to {MOST_SIDE}; asked for {size}.")
        _, raw = self._ask(content, size=size, most=size * size * 3)
        return np.frombuffer(raw, np.uint8).reshape(size, size, 3)

    def _ask(self, content: bytes, *, size: int, most: int) -> tuple[dict[str, Any], bytes]:
        if not content:
            raise ImageRefused("empty")
        if len(content) > MOST_BYTES:
            raise ImageRefused(f"{len(content)} bytes, at most {MOST_BYTES}")
        with self._turn:
            child, began = self._running(), time.monotonic()
            try:
                with _killed_after(self.within, child):
                    facts, body = _exchange(child, content, size, most)
                if "refused" not in facts and not _is_plausible(facts, body, size):
                    raise ValueError(facts)
            except (OSError, EOFError, TypeError, ValueError):  # it is gone, or talks nonsense
                self._end()
                late = time.monotonic() - began >= self.within
                raise ImageRefused(f"took longer than {self.within:g} s" if late else "crashed the decoder") from None
            except BaseException:  # interrupted: the answer still to come would be taken for the next image's
                self._end()
                raise
        if "refused" in facts:
            raise ImageRefused(str(facts["refused"]))
        return facts, body

    def _running(self) -> "subprocess.Popen[bytes]":
        """The child; a new one if there is none or it has died."""
        if self._child and self._child.poll() is None:
            return self._child
        self._end()
        self._child = child = subprocess.Popen(
            [sys.executable, "-I", "-B", decoder.__file__, str(self.memory)],
            stdin=subprocess.PIPE,
            stdout=subprocess.PIPE,
            stderr=subprocess.DEVNULL,
            cwd="/",
            env={},  # no secret of this process
        )
        with _killed_after(_STARTS_WITHIN, child), suppress(EOFError):
            if _read(child, len(decoder.READY)) == decoder.READY:
                return child
        self._end()
        raise ObjectError(
            f"the decoder of images does not start (exit code {child.returncode}). Expected Pillow with "
            f"{', '.join(decoder.FORMATS)} and enough memory within {self.memory >> 20} MiB. To see why, run "
            f"`python -m convergence.objects.decoder {self.memory}`."
        )

    def _end(self) -> None:
        if self._child:
            self._child.kill()
            self._child.communicate()  # closes the pipes, whatever was still in them
            self._child = None


@contextmanager
def _killed_after(seconds: float, child: "subprocess.Popen[bytes]") -> Iterator[None]:
    """Whatever waits for the child inside, to read or to write, goes on when it is dead."""
    timer = Timer(seconds, child.kill)
    timer.start()
    try:
        yield
    finally:
        timer.cancel()


def _exchange(child: "subprocess.Popen[bytes]", content: bytes, size: int, most: int) -> tuple[dict[str, Any], bytes]:
    """One request and its reply. Raises OSError, EOFError: the child is gone. TypeError, ValueError: no reply."""
    assert child.stdin
    child.stdin.write(decoder.REQUEST.pack(size, len(content)))
    child.stdin.write(content)
    child.stdin.flush()
    facts, body = decoder.REPLY.unpack(_read(child, decoder.REPLY.size))
    if facts > _MOST_FACTS or body > most:
        raise ValueError(facts, body)
    return dict(json.loads(_read(child, facts))), _read(child, body)


def _read(child: "subprocess.Popen[bytes]", length: int) -> bytes:
    assert child.stdout
    if len(found := child.stdout.read(length)) < length:
        raise EOFError
    return found


def _is_plausible(facts: dict[str, Any], body: bytes, size: int) -> bool:
    width, height = facts.get("width"), facts.get("height")
    if facts.get("format") not in decoder.FORMATS or not (isinstance(width, int) and isinstance(height, int)):
        return False
    fits = len(body) == size * size * 3 if size else body.startswith(b"\xff\xd8")
    return fits and min(width, height) > 0 and width * height <= decoder.MOST_PIXELS
