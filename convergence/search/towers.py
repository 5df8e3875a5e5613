"""The towers of a checkpoint: torch modules from one text or image to one vector, with what their inputs are made with.

Texts come alone and unpadded, so no attention mask is needed and pooling is over all tokens; SigLIP, which was trained
on padded texts, gets them padded.
"""

import json
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from convergence.errors import EncoderError
from convergence.search.encoders import Kind
from convergence.search.onnx_export import unit_module

POOLINGS: dict[str, Callable[[Any], Any]] = {  # of hidden states (1, length, d)
    "mean": lambda states: states.mean(1),
    "cls": lambda states: states[:, 0],
    "max": lambda states: states.amax(1),
    "lasttoken": lambda states: states[:, -1],
}
_MODULES = {"Transformer", "Pooling", "Normalize"}
_RESAMPLING = {2: "bilinear", 3: "bicubic"}


@dataclass(frozen=True)
class Tower:
    """One side of an encoder, still in torch.

    Attributes:
        module: a `torch.nn.Module` from (1, length) int64 tokens or (1, s, s, 3) uint8 pixels to (1, d).
        kind: what goes in.
        settings: of `Graph`.
        dimension: d.
        examples: inputs to trace and compare with.
        longest: the largest length; None where the shape is fixed.
    """

    module: Any
    kind: Kind
    settings: Mapping[str, Any]
    dimension: int
    examples: Sequence[NDArray[Any]]
    longest: int | None = None


def towers(folder: Path, *, source: str, image: bool, max_tokens: int) -> tuple[Tower, Tower]:
    """The document's and the query's tower of a checkpoint with safetensors.

    Args:
        folder: of the checkpoint.
        source: its name, for errors.
        image: whether documents are images.
        max_tokens: where texts are cut, unless the model reads fewer.

    Raises:
        EncoderError: it cannot be loaded without running code of its own, is of another architecture, or has no tower
            for images.
    """
    from safetensors import SafetensorError

    try:
        if (folder / "modules.json").exists():
            found = _sentence_transformer(folder, max_tokens)
        else:
            found = _transformer(folder, max_tokens)
    except (OSError, ValueError, KeyError, ImportError, SafetensorError) as error:
        raise EncoderError(
            f"checkpoint {source!r} cannot be loaded ({type(error).__name__}); expected a sentence-transformers, BERT, "
            "CLIP or SigLIP folder with config.json, a tokenizer and safetensors, and no code of its own"
        ) from error
    if image != (found[0].kind == "pixels"):
        wanted, has = ("an image encoder", "no tower for images") if image else ("a text encoder", "one for images")
        raise EncoderError(f"checkpoint {source!r} has {has}; expected {wanted}: choose another checkpoint or role")
    return found


def _sentence_transformer(folder: Path, max_tokens: int) -> tuple[Tower, Tower]:
    types = [module["type"] for module in json.loads((folder / "modules.json").read_text())]
    own = [t for t in types if not t.startswith("sentence_transformers.") or t.rpartition(".")[2] not in _MODULES]
    if own:
        raise EncoderError(f"modules {own} are not known; expected {sorted(_MODULES)} of sentence-transformers")
    from sentence_transformers import SentenceTransformer
    from transformers.utils.logging import disable_progress_bar

    disable_progress_bar()  # of the loading of weights, into whatever log this runs under
    model: Any = SentenceTransformer(
        str(folder), device="cpu", trust_remote_code=False, local_files_only=True,
        model_kwargs={"use_safetensors": True},
    )  # fmt: skip
    first, pooling = model[0], str(model[1].pooling_mode)
    if pooling not in POOLINGS:
        raise EncoderError(f"pooling {pooling!r} is not known; expected one of {sorted(POOLINGS)}")
    limit = min(max_tokens, model.max_seq_length or max_tokens)
    lower = bool(getattr(first, "do_lower_case", False))
    made = _text_tower(first.auto_model, first.tokenizer, limit, pooling=pooling, lower=lower)
    prompts = [{"prompt": model.prompts[side]} if model.prompts.get(side) else {} for side in ("document", "query")]
    document, query = (replace(made, settings={**made.settings, **prompt}) for prompt in prompts)
    return document, query


def _transformer(folder: Path, max_tokens: int) -> tuple[Tower, Tower]:
    from transformers import AutoModel, AutoTokenizer

    model = AutoModel.from_pretrained(folder, use_safetensors=True, trust_remote_code=False, local_files_only=True)
    tokenizer = AutoTokenizer.from_pretrained(folder, trust_remote_code=False, local_files_only=True)
    if model.config.model_type in ("clip", "siglip"):
        return _image_tower(model, folder), _query_tower(model, tokenizer)
    made = _text_tower(model, tokenizer, max_tokens, pooling="mean")
    return made, made


def _text_tower(model: Any, tokenizer: Any, limit: int, *, pooling: str, lower: bool = False) -> Tower:
    positions = model.get_input_embeddings().num_embeddings and getattr(model.config, "max_position_embeddings", limit)
    table = getattr(getattr(model, "embeddings", None), "position_embeddings", None)
    if table is not None and table.padding_idx is not None:  # RoBERTa counts positions from there
        positions -= table.padding_idx + 1
    limit = min(limit, positions)
    pool = POOLINGS[pooling]
    module = unit_module(model.eval(), lambda inner, tokens: pool(inner(input_ids=tokens).last_hidden_state))
    settings = {"tokenizer": _tokenizer_json(tokenizer, limit, lower=lower)}
    return Tower(module, "text", settings, model.config.hidden_size, _token_examples(model, (7, 2, limit)), limit)


def _query_tower(model: Any, tokenizer: Any) -> Tower:
    """The text tower of CLIP (causal, cut at its end token) or SigLIP (padded to its full length)."""
    limit = model.config.text_config.max_position_embeddings
    padded = model.config.model_type == "siglip"
    settings = {"tokenizer": _tokenizer_json(tokenizer, limit, padded=padded)}
    if padded:
        module = unit_module(model.text_model.eval(), lambda inner, tokens: inner(input_ids=tokens).pooler_output)
        dimension = model.config.text_config.projection_size
        return Tower(module, "text", settings, dimension, _token_examples(model.text_model, (limit, limit)))
    module = unit_module(
        model.eval(), lambda both, tokens: both.text_projection(both.text_model(input_ids=tokens).pooler_output)
    )
    examples = _token_examples(model.text_model, (7, 2, limit))
    return Tower(module, "text", settings, model.config.projection_dim, examples, limit)


def _image_tower(model: Any, folder: Path) -> Tower:
    import torch
    from transformers import AutoImageProcessor

    facts = AutoImageProcessor.from_pretrained(folder, local_files_only=True, trust_remote_code=False).to_dict()
    size, crop = dict(facts["size"]), dict(facts.get("crop_size") or {})
    cropped = bool(facts.get("do_center_crop"))
    side = crop["height"] if cropped else size["height"]
    settings = {
        "size": side,
        "resample": _RESAMPLING[int(facts["resample"])],
        **({"fit": "crop", "shorter_side": size["shortest_edge"]} if cropped else {"fit": "squash"}),
    }
    mean, std = (torch.tensor(facts[name]).view(1, 3, 1, 1) for name in ("image_mean", "image_std"))
    scale = float(facts["rescale_factor"])

    def forward(both: Any, pixels: Any) -> Any:
        vision = both.vision_model(pixel_values=(pixels.permute(0, 3, 1, 2).float() * scale - mean) / std).pooler_output
        return both.visual_projection(vision) if hasattr(both, "visual_projection") else vision

    dimension = getattr(model.config, "projection_dim", None) or model.config.vision_config.hidden_size
    examples = [np.random.default_rng(seed).integers(0, 256, (1, side, side, 3), np.uint8) for seed in range(2)]
    return Tower(unit_module(model.eval(), forward), "pixels", settings, dimension, examples)


def _token_examples(model: Any, lengths: Sequence[int]) -> list[NDArray[np.int64]]:
    vocabulary = model.get_input_embeddings().num_embeddings
    return [np.random.default_rng(length).integers(0, vocabulary, (1, length)) for length in lengths]


def _tokenizer_json(tokenizer: Any, limit: int, *, lower: bool = False, padded: bool = False) -> str:
    from tokenizers import Tokenizer, normalizers

    made = Tokenizer.from_str(tokenizer.backend_tokenizer.to_str())
    made.enable_truncation(limit)
    made.no_padding()
    if padded:
        made.enable_padding(length=limit, pad_id=tokenizer.pad_token_id, pad_token=tokenizer.pad_token)
    if lower:
        made.normalizer = normalizers.Sequence(
            [normalizers.Lowercase(), *([made.normalizer] if made.normalizer else [])]
        )
    return made.to_str()
