"""Several text models as one encoder: their vectors side by side, so that its cosine is the weighted mean of theirs.

Models err on different queries, so together they find more than the best of them; to an index they are one model with
longer vectors. Each is weighted by what its cosines differ by among texts that have nothing to do with each other: so
their scores are on one scale, and no judged query is needed to say how they are mixed.
"""

import json
from collections.abc import Sequence
from dataclasses import replace
from math import sqrt

import numpy as np
from numpy.typing import NDArray

from convergence.errors import EncoderError
from convergence.search.encoders import text_tokens
from convergence.search.onnx_export import unit_module
from convergence.search.towers import Tower

_TOKENIZER = ("model", "truncation", "padding", "normalizer", "pre_tokenizer", "post_processor")
_LEAST_SPREAD = 1e-6  # of equal vectors rounding leaves less


def joined(towers: Sequence[tuple[Tower, Tower]], names: Sequence[str], texts: Sequence[str]) -> tuple[Tower, Tower]:
    """One encoder out of several, each given as its document's and its query's tower.

    Args:
        towers: of at least two text models that cut texts into the same tokens.
        names: of the models: what `parts` in the settings calls their share of the vector, in this order.
        texts: unlike each other; weights are measured on them.

    Raises:
        EncoderError: their tokens or their lengths differ, one encodes queries in another way than documents, or gives
            all texts the same vector.
    """
    alone = [document for document, query in towers if document.settings == query.settings]
    if len(alone) < len(towers) or len({_tokens_of(tower) for tower in alone}) > 1:
        raise EncoderError(
            f"{' and '.join(names)} cannot be joined: expected text models that make the same tokens of a text "
            "(vocabulary, normalization, special tokens, greatest length) and have no prompts; choose others, or one"
        )
    import torch

    spreads = [_spread(tower, texts) for tower in alone]
    if not min(spreads) > _LEAST_SPREAD:
        raise EncoderError(
            f"of {' and '.join(names)} one gives all of {len(texts)} texts the same vector, so there is nothing to "
            "weight it by: leave it out, or give texts that are unlike each other"
        )
    inverse = [1 / spread for spread in spreads]
    scales = [sqrt(one / sum(inverse)) for one in inverse]
    module = unit_module(
        torch.nn.ModuleList([tower.module for tower in alone]),
        lambda parts, tokens: torch.cat([s * part(tokens) for s, part in zip(scales, parts, strict=True)], -1),
    )
    parts = [[name, tower.dimension] for name, tower in zip(names, alone, strict=True)]
    made = replace(
        alone[0], module=module, dimension=sum(tower.dimension for tower in alone),
        settings={**alone[0].settings, "parts": parts},
    )  # fmt: skip
    return made, made


def _tokens_of(tower: Tower) -> str:
    """All that a text's tokens depend on; how a tokenizer decodes is left out."""
    if "prompt" in tower.settings or tower.kind != "text":
        return f"{tower.kind} of its own: {id(tower)}"
    told = json.loads(tower.settings["tokenizer"])
    special = sorted((token["id"], token["content"]) for token in told["added_tokens"])
    return json.dumps([special, *(told[name] for name in _TOKENIZER)], sort_keys=True)


def _spread(tower: Tower, texts: Sequence[str]) -> float:
    """Standard deviation of the cosines between texts, in three digits: the others are another processor's others."""
    import torch

    if len(texts) < 3:
        return 0.0

    encode = text_tokens(tower.settings)
    with torch.no_grad():
        vectors = np.concatenate([tower.module(torch.from_numpy(encode(text))).numpy() for text in texts])
    return float(f"{(vectors @ vectors.T)[np.triu_indices(len(texts), 1)].std():.3g}")


def parts_of(parts: Sequence[tuple[str, int]], vectors: NDArray[np.float32]) -> dict[str, NDArray[np.float32]]:
    """The unit vectors of each model in the vectors (n, d) of a joined encoder, whose settings have these `parts`."""
    ends = np.cumsum([dimension for _, dimension in parts])
    alone = zip(parts, np.split(vectors, ends[:-1], axis=1), strict=True)
    return {name: part / np.linalg.norm(part, axis=1, keepdims=True) for (name, _), part in alone}
