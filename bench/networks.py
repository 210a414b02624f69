"""The networks that whole models are measured on: random weights, and what one item of their input is."""

from collections.abc import Callable
from dataclasses import dataclass
from typing import Any

import torch
from torch import nn


@dataclass(frozen=True)
class Network:
    """A model in eval mode, and what makes inputs for it: `random(batch, generator)`, a tensor or a tuple of several."""

    model: nn.Module
    random: Callable[[int, torch.Generator], Any]

    def inputs(self, batch: int, seed: int = 0) -> Any:
        """Of a batch, the same for a seed."""
        return self.random(batch, torch.Generator().manual_seed(seed))


class LastHidden(nn.Module):
    """A transformer of transformers, of whose outputs the last hidden state is taken."""

    def __init__(self, model: nn.Module) -> None:
        super().__init__()
        self.model = model

    def forward(self, ids: torch.Tensor) -> torch.Tensor:
        """(N, tokens) numbers of tokens to (N, tokens, features)."""
        hidden: torch.Tensor = self.model(input_ids=ids).last_hidden_state
        return hidden


def images(*item: int) -> Callable[[int, torch.Generator], torch.Tensor]:
    """Standard normal numbers."""
    return lambda batch, generator: torch.randn(batch, *item, generator=generator)


def tokens(count: int, vocabulary: int) -> Callable[[int, torch.Generator], torch.Tensor]:
    """Random numbers of tokens."""
    return lambda batch, generator: torch.randint(0, vocabulary, (batch, count), generator=generator)


def mlp() -> Network:
    """Two blocks of a transformer's width."""
    sizes = [(768, 3072), (3072, 768), (768, 3072), (3072, 768)]
    layers = [m for i, o in sizes for m in (nn.Linear(i, o), nn.ReLU())][:-1]
    return Network(nn.Sequential(*layers), images(768))


def bert() -> Network:
    """BERT-base without its pooler, 128 tokens (Devlin et al., 2018); transformers gives it."""
    import transformers

    config = transformers.BertConfig()
    model = transformers.BertModel(config, add_pooling_layer=False)
    return Network(LastHidden(model), tokens(128, config.vocab_size))


def yolo(name: str = "yolov8n", size: int = 640) -> Network:
    """A detector without post-processing, of square images; ultralytics gives it."""
    from ultralytics.nn.tasks import DetectionModel

    class Boxes(nn.Module):
        def __init__(self) -> None:
            super().__init__()
            self.network = DetectionModel(f"{name}.yaml", verbose=False)

        def forward(self, x: torch.Tensor) -> Any:
            return self.network(x)[0]

    return Network(Boxes(), images(3, size, size))


OWN: dict[str, Callable[[], Network]] = {"mlp": mlp, "bert": bert, "yolov8n": yolo}


def network(name: str) -> Network:
    """By name: one of ours above, or a classifier of torchvision."""
    torch.manual_seed(0)
    if name in OWN:
        found = OWN[name]()
    else:
        import torchvision

        found = Network(getattr(torchvision.models, name)(weights=None), images(3, 224, 224))
        for parameter in found.model.parameters():
            if parameter.ndim > 1 and not parameter.any():  # ViT's head: its output would say nothing
                nn.init.normal_(parameter, std=0.02)
    found.model.eval()
    return found
