"""Images for tests, honest and hostile; the hostile ones are written byte by byte, since no library would."""

import struct
import zlib
from io import BytesIO
from typing import Any

import numpy as np
from PIL import Image

SVG = b'<?xml version="1.0"?><!DOCTYPE svg [<!ENTITY x SYSTEM "file:///etc/passwd">]><svg><text>&x;</text></svg>'


def noise(width: int = 40, height: int = 30, seed: int = 0) -> Image.Image:
    return Image.fromarray(np.random.default_rng(seed).integers(0, 255, (height, width, 3), dtype=np.uint8))


def encoded(image: Image.Image, kind: str, **options: Any) -> bytes:
    out = BytesIO()
    image.save(out, kind, **options)
    return out.getvalue()


def frames(kind: str, number: int) -> bytes:
    """An animation or a file of many pages."""
    first, second = noise(seed=1), noise(seed=2)
    rest = [second if n % 2 else first for n in range(1, number)]
    return encoded(first, kind, save_all=True, append_images=rest)


def long_gif(number: int) -> bytes:
    """A GIF of very many equal frames."""
    whole = encoded(noise(4, 4), "GIF")
    head = 13 + 3 * 2 ** (1 + (whole[10] & 7))  # the screen and its palette
    return whole[:head] + whole[head:-1] * number + b";"


def chunk(kind: bytes, body: bytes) -> bytes:
    return struct.pack(">I", len(body)) + kind + body + struct.pack(">I", zlib.crc32(kind + body))


def png(width: int, height: int, *more: bytes, rows: bool = True) -> bytes:
    """A black PNG of 8 bits RGB that may claim more rows than it has, with further chunks before the pixels."""
    header = chunk(b"IHDR", struct.pack(">IIBBBBB", width, height, 8, 2, 0, 0, 0))
    pixels = chunk(b"IDAT", zlib.compress(bytes(height * (1 + 3 * width)) if rows else b""))
    return b"\x89PNG\r\n\x1a\n" + header + b"".join(more) + pixels + chunk(b"IEND", b"")


def long_text() -> bytes:
    """100 MB of text, compressed to 100 kB, in a PNG."""
    return png(9, 9, chunk(b"iTXt", b"Comment\0\1\0\0\0" + zlib.compress(bytes(100_000_000))))
