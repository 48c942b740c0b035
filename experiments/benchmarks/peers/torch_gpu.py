"""What else a GPU user would choose: a training step of DenseNet-121 in PyTorch.

The network of bench_gpu.py (DenseNet-121, mean pooling, 15 outputs, Adam), tuned as a
user who knows PyTorch would: channels-last convolutions, `torch.compile` of everything
from the grey pixels to the loss, autocast, cuDNN's search for the fastest algorithms,
TF32 for what stays in float32, and the fused Adam. One batch lies in the GPU's memory
throughout, so that nothing is read or copied.

It imports nothing of this project and needs an environment of its own, since its
packages and ours exclude each other:

    python3 -m venv torch-env
    torch-env/bin/pip install torch==2.13.0

It prints `warm` once it has compiled. For every line on standard input it then trains
and prints one JSON object with `images_per_second`.
"""

import argparse
import json
import sys
import time
from collections.abc import Callable, Sequence
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    import torch

# Layers of the four dense blocks (Huang et al. 2017, arXiv:1608.06993, table 1).
BLOCKS = (6, 12, 24, 16)
GROWTH = 32
OUTPUTS = 15
WARM_STEPS = 3


def make_network() -> "torch.nn.Module":
    """DenseNet-121 with mean pooling and 15 logits, laid out channels last."""
    import torch
    from torch import nn

    def normalize(channels: int) -> list[nn.Module]:
        return [nn.BatchNorm2d(channels, eps=1.001e-5, momentum=0.01), nn.ReLU(True)]

    def convolve(inputs: int, outputs: int, size: int, stride: int = 1) -> nn.Conv2d:
        return nn.Conv2d(inputs, outputs, size, stride, size // 2, bias=False)

    class DenseLayer(nn.Module):
        def __init__(self, channels: int) -> None:
            super().__init__()
            width = 4 * GROWTH
            self.new = nn.Sequential(
                *(*normalize(channels), convolve(channels, width, 1)),
                *(*normalize(width), convolve(width, GROWTH, 3)),
            )

        def forward(self, features: torch.Tensor) -> torch.Tensor:
            return torch.cat([features, self.new(features)], 1)

    channels = 2 * GROWTH
    layers = [convolve(3, channels, 7, 2), *normalize(channels), nn.MaxPool2d(3, 2, 1)]
    for number, count in enumerate(BLOCKS):
        if number:
            layers += [*normalize(channels), convolve(channels, channels // 2, 1)]
            layers += [nn.AvgPool2d(2)]
            channels //= 2
        for _ in range(count):
            layers.append(DenseLayer(channels))
            channels += GROWTH
    head = (nn.AdaptiveAvgPool2d(1), nn.Flatten(), nn.Linear(channels, OUTPUTS))
    network = nn.Sequential(*layers, *normalize(channels), *head)
    return network.to(memory_format=torch.channels_last)


def make_step(options: argparse.Namespace) -> Callable[[], object]:
    """One step of training on a batch that stays on the device."""
    import torch

    torch.manual_seed(0)
    torch.backends.cudnn.benchmark = True
    torch.set_float32_matmul_precision("high")
    torch.backends.cudnn.allow_tf32 = True
    device = torch.device("cuda" if options.device == "gpu" else "cpu")
    network = make_network().to(device)
    optimizer = torch.optim.Adam(network.parameters(), lr=1e-3, fused=True)
    entropy = torch.nn.BCEWithLogitsLoss()
    shape = (options.batch_size, 1, options.image_size, options.image_size)
    pixels = torch.randint(0, 256, shape).to(torch.uint8).to(device)
    labels = (torch.rand(options.batch_size, OUTPUTS) > 0.8).float().to(device)
    low = options.precision != "float32"

    def loss(pixels: torch.Tensor, labels: torch.Tensor) -> torch.Tensor:
        grey = pixels.float() / 127.5 - 1
        rgb = grey.expand(-1, 3, -1, -1)
        rgb = rgb.contiguous(memory_format=torch.channels_last)
        with torch.autocast(device.type, torch.bfloat16, enabled=low):
            logits = network(rgb)
        return entropy(logits.float(), labels)

    compiled = torch.compile(loss)

    def step() -> None:
        optimizer.zero_grad()
        compiled(pixels, labels).backward()
        optimizer.step()

    return step


def measure(step: Callable[[], object], options: argparse.Namespace) -> float:
    """Images per second of so many steps."""
    import torch

    start = time.perf_counter()
    for _ in range(options.steps):
        step()
    if options.device == "gpu":
        torch.cuda.synchronize()
    return options.steps * options.batch_size / (time.perf_counter() - start)


def main(arguments: Sequence[str] | None = None) -> int:
    """Compile, then train once for every line on standard input."""
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("--device", choices=("gpu", "cpu"), default="gpu")
    parser.add_argument(
        "--precision", choices=("float32", "bfloat16"), default="bfloat16"
    )
    parser.add_argument("--image-size", type=int, default=224)
    parser.add_argument("--batch-size", type=int, default=64)
    parser.add_argument("--steps", type=int, default=50)
    options = parser.parse_args(arguments)
    step = make_step(options)
    for _ in range(WARM_STEPS):
        step()
    measure(step, options)
    print("warm", flush=True)
    for _ in sys.stdin:
        print(json.dumps({"images_per_second": measure(step, options)}), flush=True)
    return 0


if __name__ == "__main__":
    sys.exit(main())
