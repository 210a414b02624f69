"""Model families as their own packages define them, with random weights; what one item of their inputs is."""

from collections.abc import Callable
from typing import Any

import torch
from networks import LastHidden, Network, images, tokens, yolo
from torch import nn
from torch.nn import functional as F

BUILD: dict[str, Callable[[], Network]] = {}


def family(name: str) -> Callable[[Callable[[], Network]], Callable[[], Network]]:
    """Register what builds a family of this name; packages are imported inside."""

    def register(build: Callable[[], Network]) -> Callable[[], Network]:
        BUILD[name] = build
        return build

    return register


class Part(nn.Module):
    """A model, and what is taken of its output."""

    def __init__(self, model: nn.Module, taken: Callable[[Any], Any]) -> None:
        super().__init__()
        self.model, self.taken = model, taken

    def forward(self, *inputs: torch.Tensor) -> Any:
        """The model's inputs to the part of its output."""
        return self.taken(self.model(*inputs))


# --- transformers


def _encoder(name: str, config: dict[str, Any]) -> Network:
    import transformers

    made = getattr(transformers, f"{name}Config")(**config)
    model = getattr(transformers, f"{name}Model")(made)
    return Network(LastHidden(model), tokens(64, made.vocab_size))


@family("BERT-base")
def bert() -> Network:
    """64 tokens, as the three below (Devlin et al., 2018)."""
    return _encoder("Bert", {})


@family("DistilBERT")
def distilbert() -> Network:
    """Sanh et al., 2019."""
    return _encoder("DistilBert", {})


@family("RoBERTa-base")
def roberta() -> Network:
    """Liu et al., 2019."""
    return _encoder("Roberta", {"max_position_embeddings": 514, "type_vocab_size": 1, "vocab_size": 50265})


class Sentence(nn.Module):
    """The mean of a transformer's tokens that are no padding, of length 1, as sentence encoders make it."""

    def __init__(self, model: nn.Module) -> None:
        super().__init__()
        self.model = model

    def forward(self, ids: torch.Tensor, seen: torch.Tensor) -> torch.Tensor:
        """(N, tokens) numbers of tokens and 1 or 0 for each, to (N, features)."""
        hidden = self.model(input_ids=ids, attention_mask=seen).last_hidden_state
        mask = seen.unsqueeze(-1).float()
        return F.normalize((hidden * mask).sum(1) / mask.sum(1).clamp(min=1e-9), dim=1)


@family("MiniLM sentence encoder")
def minilm() -> Network:
    """All-MiniLM-L6's shape, 64 tokens with a mask (Wang et al., 2020; Reimers, Gurevych, 2019)."""
    import transformers

    config = transformers.BertConfig(hidden_size=384, num_hidden_layers=6, num_attention_heads=12, intermediate_size=1536)

    def given(batch: int, generator: torch.Generator) -> Any:
        lengths = torch.randint(8, 65, (batch, 1), generator=generator)
        return tokens(64, config.vocab_size)(batch, generator), (torch.arange(64) < lengths).long()

    return Network(Sentence(transformers.BertModel(config)), given)


@family("ViT-B/16")
def vit() -> Network:
    """Dosovitskiy et al., 2020; torchvision."""
    return _torchvision("vit_b_16")


@family("CLIP vision")
def clip_vision() -> Network:
    """The tower of ViT-B/32 with its projection (Radford et al., 2021)."""
    import transformers

    model = transformers.CLIPVisionModelWithProjection(transformers.CLIPVisionConfig())
    return Network(Part(model, lambda y: y.image_embeds), images(3, 224, 224))


@family("CLIP text")
def clip_text() -> Network:
    """77 tokens, of which the last has the largest number: where the text ends."""
    import transformers

    model = transformers.CLIPTextModelWithProjection(transformers.CLIPTextConfig(eos_token_id=2))

    def given(batch: int, generator: torch.Generator) -> torch.Tensor:
        ids = tokens(77, 49400)(batch, generator)
        ids[:, -1] = 49407
        return ids

    return Network(Part(model, lambda y: y.text_embeds), given)


@family("Whisper encoder")
def whisper() -> Network:
    """Of whisper-tiny, 30 seconds (Radford et al., 2022)."""
    import transformers
    from transformers.models.whisper.modeling_whisper import WhisperEncoder

    config = transformers.WhisperConfig(d_model=384, encoder_layers=4, encoder_attention_heads=6, encoder_ffn_dim=1536)
    return Network(Part(WhisperEncoder(config), lambda y: y.last_hidden_state), images(80, 3000))


@family("nn.TransformerEncoder")
def encoder() -> Network:
    """Torch's own, six layers of width 512 over 64 tokens (Vaswani et al., 2017)."""
    layer = nn.TransformerEncoderLayer(512, 8, 2048, batch_first=True)
    return Network(nn.TransformerEncoder(layer, 6), images(64, 512))


@family("GPT-2")
def gpt2() -> Network:
    """124 million parameters, 64 tokens at once, to hidden states (Radford et al., 2019)."""
    return _encoder("GPT2", {})


@family("OPT")
def opt() -> Network:
    """125 million parameters, 64 tokens at once, to hidden states (Zhang et al., 2022)."""
    return _encoder("OPT", {})


# --- classifiers


def _torchvision(name: str, size: int = 224, **options: Any) -> Network:
    import torchvision

    return Network(getattr(torchvision.models, name)(weights=None, **options), images(3, size, size))


def _video(name: str) -> Network:
    """Of eight frames."""
    import torchvision

    return Network(getattr(torchvision.models.video, name)(weights=None), images(3, 8, 112, 112))


CLASSIFIERS: dict[str, dict[str, Any]] = {
    "MobileNetV2": {"name": "mobilenet_v2"},
    "MobileNetV3 small": {"name": "mobilenet_v3_small"},
    "MobileNetV3 large": {"name": "mobilenet_v3_large"},
    "EfficientNet-B0": {"name": "efficientnet_b0"},
    "MNASNet": {"name": "mnasnet1_0"},
    "ShuffleNetV2": {"name": "shufflenet_v2_x1_0"},
    "DenseNet-121": {"name": "densenet121"},
    "Inception v3": {"name": "inception_v3", "size": 299, "init_weights": True},
    "ConvNeXt-T": {"name": "convnext_tiny"},
    "Swin-T": {"name": "swin_t"},
    "Swin V2-T": {"name": "swin_v2_t"},
    "MaxViT-T": {"name": "maxvit_t"},
}
for _name, _options in CLASSIFIERS.items():
    BUILD[_name] = lambda options=_options: _torchvision(**options)  # type: ignore[misc]
for _name in ("r3d_18", "mc3_18", "r2plus1d_18"):  # Tran et al., 2018
    BUILD[_name] = lambda name=_name: _video(name)  # type: ignore[misc]


@family("GhostNet")
def ghostnet() -> Network:
    """Han et al., 2020; timm."""
    import timm

    return Network(timm.create_model("ghostnet_100", pretrained=False), images(3, 224, 224))


# --- detection, segmentation, generation, speech


@family("YOLOv8n")
def yolov8n() -> Network:
    """Boxes and scores before non-maximum suppression; ultralytics."""
    return yolo("yolov8n", 320)


@family("YOLO11n")
def yolo11n() -> Network:
    """The same of the later one."""
    return yolo("yolo11n", 320)


class Heads(nn.Module):
    """Backbone and heads of a detector of torchvision: scores and offsets of every anchor."""

    def __init__(self, detector: nn.Module) -> None:
        super().__init__()
        self.backbone, self.head = detector.backbone, detector.head

    def forward(self, x: torch.Tensor) -> Any:
        """(N, 3, H, W) to (N, anchors, classes) and (N, anchors, 4)."""
        made = self.head(list(self.backbone(x).values()))
        return made["cls_logits"], made["bbox_regression"]


@family("SSDLite320")
def ssdlite() -> Network:
    """Backbone and heads: anchors and non-maximum suppression stay outside (Liu et al., 2016; Howard et al., 2019)."""
    from torchvision.models.detection import ssdlite320_mobilenet_v3_large

    return Network(Heads(ssdlite320_mobilenet_v3_large(weights=None, weights_backbone=None)), images(3, 320, 320))


@family("DeepLabV3")
def deeplab() -> Network:
    """With MobileNetV3 (Chen et al., 2017); torchvision."""
    from torchvision.models.segmentation import deeplabv3_mobilenet_v3_large

    model = deeplabv3_mobilenet_v3_large(weights=None, weights_backbone=None)
    return Network(Part(model, lambda y: y["out"]), images(3, 256, 256))


@family("U-Net")
def unet() -> Network:
    """With ResNet-18 (Ronneberger et al., 2015); segmentation_models_pytorch."""
    import segmentation_models_pytorch

    return Network(segmentation_models_pytorch.Unet("resnet18", encoder_weights=None), images(3, 128, 128))


@family("U-Net, transposed")
def transposed_unet() -> Network:
    """The original one, which enlarges by transposed convolutions, narrower."""

    def twice(channels: int, filters: int) -> nn.Module:
        layers = []
        for wide in (channels, filters):
            layers += [nn.Conv2d(wide, filters, 3, padding=1, bias=False), nn.BatchNorm2d(filters), nn.ReLU(inplace=True)]
        return nn.Sequential(*layers)

    class UNet(nn.Module):
        def __init__(self, widths: tuple[int, ...] = (32, 64, 128, 256)) -> None:
            super().__init__()
            self.down = nn.ModuleList([twice(a, b) for a, b in zip((3, *widths), widths, strict=False)])
            pairs = list(zip(widths[::-1], widths[-2::-1], strict=False))
            self.larger = nn.ModuleList([nn.ConvTranspose2d(a, b, 2, 2) for a, b in pairs])
            self.up = nn.ModuleList([twice(2 * b, b) for _, b in pairs])
            self.last = nn.Conv2d(widths[0], 2, 1)

        def forward(self, x: torch.Tensor) -> torch.Tensor:
            kept: list[torch.Tensor] = []
            for layer in self.down:
                x = layer(x if not kept else F.max_pool2d(x, 2))
                kept.append(x)
            for larger, layer, beside in zip(self.larger, self.up, kept[-2::-1], strict=True):
                x = layer(torch.cat([beside, larger(x)], 1))
            return self.last(x)

    return Network(UNet(), images(3, 128, 128))


@family("diffusion U-Net")
def diffusion() -> Network:
    """Noise of a noisy image at a time step of its own for each (Ho et al., 2020); diffusers."""
    from diffusers import UNet2DModel

    model = UNet2DModel(
        sample_size=32,
        layers_per_block=1,
        block_out_channels=(32, 64, 128),
        down_block_types=("DownBlock2D", "DownBlock2D", "AttnDownBlock2D"),
        up_block_types=("AttnUpBlock2D", "UpBlock2D", "UpBlock2D"),
    )

    def given(batch: int, generator: torch.Generator) -> Any:
        steps = torch.randint(0, 1000, (batch,), generator=generator)
        return torch.randn(batch, 3, 32, 32, generator=generator), steps

    return Network(Part(model, lambda y: y.sample), given)


class Speaker(nn.Module):
    """Three LSTM layers, a linear one on the last state, length 1 (Wan et al., 2018)."""

    def __init__(self) -> None:
        super().__init__()
        self.lstm = nn.LSTM(40, 256, 3, batch_first=True)
        self.linear = nn.Linear(256, 256)

    def forward(self, mels: torch.Tensor) -> torch.Tensor:
        """(N, frames, 40) to (N, 256)."""
        _, (hidden, _) = self.lstm(mels)
        raw = F.relu(self.linear(hidden[-1]))
        return raw / torch.norm(raw, dim=1, keepdim=True)


@family("speaker encoder")
def speaker() -> Network:
    """160 frames."""
    return Network(Speaker(), images(160, 40))
