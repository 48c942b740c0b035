r"""What else a Spark user would choose: PyTorch DDP on Spark's own TorchDistributor.

The same network (MobileNet 1.0 at 128x128, 15 sigmoids, Adam, batch 32 per worker) on
as many images for as many epochs, one thread per worker. It is tuned as a user who
knows PyTorch would: uint8 images resident in memory, channels-last convolutions,
in-place activations, the fused Adam, DDP with a static graph, gradients as views of its
buckets and no broadcast of BatchNorm's buffers. (`torch.compile` was tried on one CPU
thread: a minute of compilation, then slower steps.) The images are drawn by each worker
itself, so that nothing is read, decoded or sent.

It needs an environment of its own, since its packages and ours exclude each other:

    python3 -m venv torch-env
    torch-env/bin/pip install torch==2.13.0 pyspark==3.5.9 'numpy<2' 'pandas<3' \
        'pyarrow<24' 'setuptools<81'
    torch-env/bin/python experiments/benchmarks/peers/torch_spark.py --workers 2

and Java as for Spark (`JAVA_HOME=$(python -m xray.java)`). On Linux, PyPI's torch holds
CUDA as well; `--index-url https://download.pytorch.org/whl/cpu` for torch alone is
smaller and as fast here. It imports nothing of this project.

The last line is one JSON object: `images_per_second` of all workers by epoch, `steady`
from the second epoch on, and `seconds` from the start of this program to the end of
training.
"""

import argparse
import json
import os
import sys
import time
from collections.abc import Sequence
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    import torch

# Output channels and stride of MobileNet's 13 separable blocks (Howard et al. 2017,
# table 1).
BLOCKS = (
    *((64, 1), (128, 2), (128, 1), (256, 2), (256, 1), (512, 2)),
    *((512, 1),) * 5,
    *((1024, 2), (1024, 1)),
)
OUTPUTS = 15


def make_network() -> "torch.nn.Module":
    """MobileNet 1.0 with mean pooling and 15 logits, laid out channels last."""
    import torch
    from torch import nn

    def convolve(inputs: int, outputs: int, size: int, stride: int, groups: int = 1):
        padding = size // 2
        options = {"groups": groups, "bias": False}
        return (
            nn.Conv2d(inputs, outputs, size, stride, padding, **options),
            nn.BatchNorm2d(outputs, eps=1e-3),
            nn.ReLU6(inplace=True),
        )

    channels = 32
    layers = [*convolve(3, channels, 3, 2)]
    for outputs, stride in BLOCKS:
        layers += convolve(channels, channels, 3, stride, groups=channels)
        layers += convolve(channels, outputs, 1, 1)
        channels = outputs
    head = (nn.AdaptiveAvgPool2d(1), nn.Flatten(), nn.Linear(channels, OUTPUTS))
    return nn.Sequential(*layers, *head).to(memory_format=torch.channels_last)


def train(images: int, epochs: int, image_size: int, batch_size: int) -> list[float]:
    """Runs on each worker: seconds of each epoch on its share of the images."""
    import torch
    from torch import distributed
    from torch.nn.parallel import DistributedDataParallel

    torch.set_num_threads(1)
    distributed.init_process_group("gloo")
    share = -(-images // distributed.get_world_size())
    torch.manual_seed(distributed.get_rank())
    pixels = torch.randint(0, 256, (share, 1, image_size, image_size)).to(torch.uint8)
    labels = (torch.rand(share, OUTPUTS) > 0.8).float()
    network = DistributedDataParallel(
        make_network(),
        forward_sync_buffers=False,
        gradient_as_bucket_view=True,
        static_graph=True,
    )
    optimizer = torch.optim.Adam(network.parameters(), lr=1e-3, fused=True)
    loss = torch.nn.BCEWithLogitsLoss()
    seconds = []
    for _ in range(epochs):
        start = time.perf_counter()
        for rows in torch.randperm(share).split(batch_size):
            grey = pixels[rows].float().div_(127.5).sub_(1)
            batch = grey.expand(-1, 3, -1, -1)
            batch = batch.contiguous(memory_format=torch.channels_last)
            optimizer.zero_grad()
            loss(network(batch), labels[rows]).backward()
            optimizer.step()
        distributed.barrier()
        seconds.append(time.perf_counter() - start)
    distributed.destroy_process_group()
    return seconds


def main(arguments: Sequence[str] | None = None) -> int:
    """Train on Spark's local mode and print one JSON object."""
    started = time.perf_counter()
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("--workers", type=int, default=2)
    parser.add_argument("--images", type=int, default=1280)
    parser.add_argument("--epochs", type=int, default=3)
    parser.add_argument("--image-size", type=int, default=128)
    parser.add_argument("--batch-size", type=int, default=32)
    options = parser.parse_args(arguments)

    os.environ["PYSPARK_PYTHON"] = sys.executable  # the workers' Python as well
    from pyspark.ml.torch.distributor import TorchDistributor
    from pyspark.sql import SparkSession

    builder = SparkSession.builder.master(f"local[{options.workers}]")
    spark = builder.config("spark.ui.enabled", "false").getOrCreate()
    spark.sparkContext.setLogLevel("OFF")
    distributor = TorchDistributor(options.workers, local_mode=False, use_gpu=False)
    sizes = (options.images, options.epochs, options.image_size, options.batch_size)
    seconds = distributor.run(train, *sizes)
    whole = time.perf_counter() - started
    spark.stop()
    trained = -(-options.images // options.workers) * options.workers
    steady = trained * (len(seconds) - 1) / sum(seconds[1:]) if seconds[1:] else None
    rates = [trained / value for value in seconds]
    print(json.dumps({"images_per_second": rates, "steady": steady, "seconds": whole}))
    return 0


if __name__ == "__main__":
    sys.exit(main())
