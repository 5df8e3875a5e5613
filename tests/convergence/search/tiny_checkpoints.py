"""Checkpoints with random weights, as their libraries save them: BERT, RoBERTa, sentence-transformers, CLIP, SigLIP."""

from pathlib import Path
from typing import Any

import numpy as np
import torch
import transformers
from PIL import Image
from tokenizers import Tokenizer, models, normalizers, pre_tokenizers, processors

SPECIAL = ["[PAD]", "[UNK]", "[CLS]", "[SEP]"]
WORDS = [
    *SPECIAL,
    *"abcdefghijklmnopqrstuvwxyz",
    *(f"##{c}" for c in "abcdefghijklmnopqrstuvwxyz"),
    "red",
    "bus",
    "def",
]
SIZES = {"hidden_size": 32, "num_hidden_layers": 2, "num_attention_heads": 2, "intermediate_size": 48}


def save_tokenizer(folder: Path, length: int = 24) -> Any:
    made = Tokenizer(models.WordPiece({word: i for i, word in enumerate(WORDS)}, unk_token="[UNK]"))
    made.normalizer, made.pre_tokenizer = normalizers.BertNormalizer(), pre_tokenizers.BertPreTokenizer()
    made.post_processor = processors.BertProcessing(("[SEP]", 3), ("[CLS]", 2))
    fast = transformers.PreTrainedTokenizerFast(
        tokenizer_object=made, unk_token="[UNK]", pad_token="[PAD]", cls_token="[CLS]", sep_token="[SEP]",
        eos_token="[SEP]", model_max_length=length,
    )  # fmt: skip
    fast.save_pretrained(folder)
    return fast


def bert(folder: Path, kind: str = "Bert", length: int = 34, **more: Any) -> Path:
    torch.manual_seed(1)
    config = getattr(transformers, f"{kind}Config")(
        vocab_size=len(WORDS), max_position_embeddings=length, **SIZES, **more
    )
    getattr(transformers, f"{kind}Model")(config).save_pretrained(folder)
    save_tokenizer(folder)
    return folder


def sentence_transformer(folder: Path, pooling: str, prompts: dict[str, str] | None = None) -> Path:
    from sentence_transformers import SentenceTransformer
    from sentence_transformers.sentence_transformer.modules import Normalize, Pooling, Transformer

    inner = Transformer(str(bert(folder / "inner")))
    model = SentenceTransformer(
        modules=[inner, Pooling(32, pooling_mode=pooling), Normalize()], prompts=prompts, device="cpu"
    )
    model.save(str(folder / "tiny"))
    return folder / "tiny"


def dual(folder: Path, kind: str) -> Path:
    torch.manual_seed(2)
    text = {"vocab_size": len(WORDS), "max_position_embeddings": 16, "eos_token_id": 3, "bos_token_id": 2,
            "pad_token_id": 0, **SIZES}  # fmt: skip
    vision = {"image_size": 32, "patch_size": 16, **SIZES}
    more = {"projection_dim": 24} if kind == "CLIP" else {}
    title = "CLIP" if kind == "CLIP" else "Siglip"
    if kind == "Siglip":
        text["projection_size"] = 32
    config = getattr(transformers, f"{title}Config")(text_config=text, vision_config=vision, **more)
    getattr(transformers, f"{title}Model")(config).save_pretrained(folder)
    save_tokenizer(folder, 16)
    size = {"shortest_edge": 32} if kind == "CLIP" else {"height": 32, "width": 32}
    crop = {"crop_size": {"height": 32, "width": 32}} if kind == "CLIP" else {}
    getattr(transformers, f"{title}ImageProcessor")(size=size, **crop).save_pretrained(folder)
    return folder


def photo(seed: int = 0) -> Any:
    return Image.fromarray(np.random.default_rng(seed).integers(0, 256, (32, 32, 3), np.uint8))
