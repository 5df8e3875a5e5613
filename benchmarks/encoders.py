"""Sentences a second of the text encoder on one core: ONNX in fp32 and int8 beside torch, and what int8 loses."""

import logging
from collections.abc import Callable

import numpy as np

from benchmarks.measure import Section, alternately, compare
from convergence.search.checkpoints import DEFAULT_TEXT, SENTENCES, exported, located
from convergence.search.encoders import opened

TITLE = "Text encoder"
SHORT = "two people sit on a wooden bench by the sea"  # 12 tokens with both ends
LONG = " ".join([SHORT] * 12)


def section(*, quick: bool) -> Section:
    full, small = (exported(DEFAULT_TEXT, role="text", precision=p) for p in ("fp32", "int8"))
    torch_encode = with_torch()
    rows = []
    for name, text, count in (("12 tokens", SHORT, 100), ("about 110 tokens", LONG, 20)):
        texts = [f"{i % 10} {text}" for i in range(count)]
        fp32, int8, reference = alternately(
            3 if quick else 7,
            *(lambda encode=encode: [encode([t]) for t in texts]  # noqa: B023
              for encode in (opened(full).encode_documents, opened(small).encode_documents, torch_encode)),
        )  # fmt: skip
        rows += [
            compare(f"{count} texts of {name}, ONNX fp32", fp32, reference),
            compare(f"{count} texts of {name}, ONNX int8", int8, reference, at_most=1),
        ]
    sizes = [len(encoder.document.onnx) / 1e6 for encoder in (full, small)]
    return Section(
        TITLE,
        "Ours: texts one by one through the stored encoder, tokenizer included, one thread. Reference: the same model "
        "through sentence-transformers in torch, one by one, one thread. The graph takes "
        f"{sizes[0]:.1f} MB in fp32 and {sizes[1]:.1f} MB in int8; the mean cosine of int8 to fp32 over "
        f"{len(SENTENCES)} texts is {small.fidelity:.4f}.",
        rows,
    )


def with_torch() -> Callable[[list[str]], np.ndarray]:
    import torch
    from sentence_transformers import SentenceTransformer

    logging.getLogger("sentence_transformers").setLevel(logging.ERROR)
    torch.set_num_threads(1)
    model = SentenceTransformer(str(located(DEFAULT_TEXT)[0]), device="cpu")
    return lambda texts: np.asarray(model.encode(texts, show_progress_bar=False))
