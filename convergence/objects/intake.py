"""An image from its address into the store: fetched, compared with its hash, decoded in the child, then kept.

What cannot be decoded is never kept, so whatever the store holds was an image once.
"""

from hashlib import sha256 as _sha256
from typing import NamedTuple

from convergence.errors import FetchRefused
from convergence.objects.fetching import Fetcher
from convergence.objects.images import ImageDecoder
from convergence.objects.store import Objects


class Taken(NamedTuple):
    """An image in the store; `new`: it was not there before."""

    sha256: str
    thumbnail_sha256: str
    format: str
    width: int
    height: int
    bytes: int
    new: bool


def take_in(uri: str, sha256: str | None, fetcher: Fetcher, objects: Objects, decoder: ImageDecoder) -> Taken:
    """Keep the image behind an address, and a thumbnail of it.

    Args:
        sha256: the hash that its bytes must have; None: any.

    Raises:
        FetchRefused: the address may not be followed, nothing is there, or its bytes have another hash.
        ImageRefused: it is no image that can be decoded within limits.
        ObjectError: the store cannot keep it.
    """
    content = fetcher.get(uri)
    if sha256 is not None and _sha256(content).hexdigest() != sha256:
        raise FetchRefused("bytes with another SHA-256 than the message gives")
    facts = decoder.describe(content)
    kept, small = objects.put(content), objects.put(facts.thumbnail)
    return Taken(kept.sha256, small.sha256, facts.format, facts.width, facts.height, len(content), kept.new)
