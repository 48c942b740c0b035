"""The same training step in PyTorch: one process that waits, warm, until it is told.

    torch-env/bin/python experiments/benchmarks/peers/torch_step.py --backbone ResNet50

Channels last, in-place activations and the fused Adam, as a user who knows PyTorch
would; float32, or bfloat16 by autocast. (`--compile` takes torch.compile, which on one
CPU thread was a minute of compilation for slower steps.) MobileNet is that of
torch_spark.py; ResNet50 and DenseNet121 are torchvision's, whose ResNet50 strides in
its 3x3 convolutions where Keras' strides in the 1x1 before, and so multiplies 6% more.
It needs an environment of its own, that of torch_spark.py with torchvision, and imports
nothing of this project.

It prints "warm", and for each line of standard input, a number of steps, a line with
the images per second of those steps.
"""

import argparse
import json
import os
import sys
import time
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    import torch

WARM_STEPS = 3
OUTPUTS = 15


def make_network(backbone: str) -> "torch.nn.Module":
    """The network with 15 logits, laid out channels last."""
    import torch

    if backbone == "MobileNet":
        from torch_spark import make_network as make_mobilenet

        return make_mobilenet()
    import torchvision

    make = getattr(torchvision.models, backbone.lower())
    return make(num_classes=OUTPUTS).to(memory_format=torch.channels_last)


def main() -> int:
    """Train as told on standard input."""
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("--backbone", default="MobileNet")
    parser.add_argument("--image-size", type=int, default=128)
    parser.add_argument("--batch-size", type=int, default=32)
    parser.add_argument(
        "--precision", choices=("float32", "bfloat16"), default="float32"
    )
    parser.add_argument("--cores", type=int, nargs="+", default=[0])
    parser.add_argument("--compile", action="store_true")
    options = parser.parse_args()
    os.sched_setaffinity(0, options.cores)
    os.environ["OMP_NUM_THREADS"] = str(len(options.cores))
    import torch

    torch.set_num_threads(len(options.cores))
    torch.manual_seed(0)
    network = make_network(options.backbone)
    forward = torch.compile(network) if options.compile else network
    size = options.image_size
    images = torch.rand(options.batch_size, 3, size, size)
    images = images.contiguous(memory_format=torch.channels_last)
    labels = (torch.rand(options.batch_size, OUTPUTS) > 0.8).float()
    optimizer = torch.optim.Adam(network.parameters(), lr=1e-3, fused=True)
    loss = torch.nn.BCEWithLogitsLoss()
    low = options.precision == "bfloat16"

    def train(steps: int) -> None:
        for _ in range(steps):
            optimizer.zero_grad()
            with torch.autocast("cpu", torch.bfloat16, enabled=low):
                logits = forward(images)
            loss(logits.float(), labels).backward()
            optimizer.step()

    train(WARM_STEPS)
    print("warm", flush=True)
    for line in sys.stdin:
        start = time.perf_counter()
        train(int(line))
        rate = int(line) * options.batch_size / (time.perf_counter() - start)
        print(json.dumps([rate]), flush=True)
    return 0


if __name__ == "__main__":
    sys.exit(main())
