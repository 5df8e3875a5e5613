"""The process that decodes strangers' images: it can open no file and no socket, and use so much memory and no more.

It is run by path and isolated (`python -I -B decoder.py BYTES`), so it sees no environment, imports nothing of the
platform, and holds nothing worth stealing. It answers requests from standard input until that ends; see `images.py`.
"""

import errno
import json
import resource
import signal
import struct
import sys
from contextlib import suppress
from io import BytesIO
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from PIL.Image import Image

FORMATS = ("JPEG", "PNG", "WEBP", "GIF")
MOST_PIXELS = 40_000_000
THUMBNAIL = 256  # pixels, the longer side
ORPHANED = 60  # seconds on one image after which it ends by itself: whoever should have stopped it is gone
READY = b"ready\n"
REQUEST = struct.Struct(">II")  # side of the square of pixels that is wanted, or 0 for the facts; bytes that follow
REPLY = struct.Struct(">II")  # bytes of JSON, and of image, that follow


class Refused(Exception):
    """Its text is the reason."""


def answer(content: bytes, size: int) -> tuple[dict[str, Any], bytes]:
    """What an image is with its thumbnail (JPEG), or for a `size` its pixels (size x size x 3), row by row.

    The dictionary holds `format`, `width` and `height`, or `refused` with a reason.
    """
    try:
        image, kind = upright(content)
        facts = {"format": kind, "width": image.width, "height": image.height}
        return facts, square(image, size) if size else thumbnail(image)
    except Refused as refused:
        return {"refused": str(refused)}, b""
    except MemoryError:
        return {"refused": "needed too much memory"}, b""
    except Exception as error:  # decoders raise whatever they stumble over
        if getattr(error, "errno", None) == errno.EMFILE:
            raise  # not the image's fault: Pillow imports something that rehearse() has not made it import
        ended = isinstance(error, EOFError) or "truncated" in str(error).lower()
        return {"refused": "truncated" if ended else "damaged"}, b""


def upright(content: bytes) -> tuple["Image", str]:
    """The first frame as RGB or RGBA, turned as its EXIF says, and its format. Raises Refused, or what Pillow does."""
    from PIL import Image, UnidentifiedImageError

    try:
        image = Image.open(BytesIO(content), formats=FORMATS)
    except UnidentifiedImageError:
        raise Refused("not an image of a known format") from None
    if image.width * image.height > MOST_PIXELS:
        raise Refused(f"{image.width} x {image.height} pixels, at most {MOST_PIXELS}")
    kind = "JPEG" if image.format == "MPO" else str(image.format)  # MPO: a photograph with more of them behind it
    image.load()
    turn = _turn(image)
    if image.mode.startswith("I"):  # 16 bits of grey, which convert() would clip at 255
        image = image.convert("I").point(lambda value: value * (1 / 256)).convert("L")
    image = image.convert("RGBA" if image.has_transparency_data else "RGB")
    return (image if turn is None else image.transpose(turn)), kind


def square(image: "Image", size: int) -> bytes:
    """The shorter side resized to `size` (bicubic) and the middle cut out of the longer one: 3 bytes a pixel."""
    from PIL import Image, ImageOps

    return _flat(ImageOps.fit(image, (size, size), Image.Resampling.BICUBIC)).tobytes()


def thumbnail(image: "Image") -> bytes:
    """A JPEG of at most THUMBNAIL pixels a side, without any metadata."""
    image.thumbnail((THUMBNAIL, THUMBNAIL))
    out = BytesIO()
    _flat(image).save(out, "JPEG", quality=85)
    return out.getvalue()


def _turn(image: "Image") -> Any:
    from PIL.ExifTags import Base
    from PIL.Image import Transpose as To

    turns = (To.FLIP_LEFT_RIGHT, To.ROTATE_180, To.FLIP_TOP_BOTTOM, To.TRANSPOSE)
    turns = (*turns, To.ROTATE_270, To.TRANSVERSE, To.ROTATE_90)
    with suppress(Exception):  # EXIF is often broken where the picture is not; then it says nothing
        return dict(enumerate(turns, start=2)).get(image.getexif().get(Base.Orientation.value, 1))
    return None


def _flat(image: "Image") -> "Image":
    """On white, and a new image: Pillow would carry comments of the old one into what it saves."""
    from PIL import Image

    flat = Image.new("RGB", image.size, "white")
    flat.paste(image, mask=image if image.mode == "RGBA" else None)
    return flat


def rehearse() -> None:
    """Decode one image of each format: Pillow imports some modules at first use. Raises RuntimeError if one fails."""
    from PIL import Image
    from PIL.ExifTags import Base

    picture = Image.new("RGB", (2, 2))
    picture.getexif()[Base.Orientation.value] = 6
    for kind in FORMATS:
        out = BytesIO()
        picture.save(out, kind, exif=picture.getexif())
        for size in (0, 1):
            if "refused" in (found := answer(out.getvalue(), size)[0]):
                raise RuntimeError(f"this Pillow does not decode {kind}: {found}")


def confine(memory: int) -> None:
    """Give up, for good, what decoding does not need: files, sockets, children, core dumps, memory beyond `memory`."""
    limits = {"AS": memory, "FSIZE": 0, "NOFILE": 3, "NPROC": 0, "CORE": 0}  # 3: the standard streams
    for name, limit in limits.items():
        resource.setrlimit(getattr(resource, f"RLIMIT_{name}"), (limit, limit))


def main() -> None:
    """Answer until standard input ends."""
    from PIL import Image

    Image.MAX_IMAGE_PIXELS = None  # upright() is stricter, and says the width and the height
    rehearse()
    confine(memory=int(sys.argv[1]))
    rehearse()  # again: what the limits themselves forbid is not to be blamed on an image
    source, sink = sys.stdin.buffer, sys.stdout.buffer
    sink.write(READY)
    sink.flush()
    while len(request := source.read(REQUEST.size)) == REQUEST.size:
        size, length = REQUEST.unpack(request)
        content = source.read(length)
        signal.alarm(ORPHANED)
        facts, body = answer(content, size)
        signal.alarm(0)
        head = json.dumps(facts).encode()
        sink.write(REPLY.pack(len(head), len(body)) + head + body)
        sink.flush()


if __name__ == "__main__":
    main()
