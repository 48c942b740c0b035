r"""What else a Keras user would choose: Ray Train and `MultiWorkerMirroredStrategy`.

The same network (MobileNet 1.0 at 128x128, 15 sigmoids, Adam, batch 32 per worker) on
as many images for as many epochs, one thread per worker, gradients averaged at every
step. Keras 3 does not train under this strategy (keras-team/keras#20585), so Ray takes
Keras 2 (`tf-keras`), whose batch normalization is TensorFlow's fused kernel. The images
are drawn by each worker itself, so that nothing is read, decoded or sent.

It needs an environment of its own, since its packages and ours exclude each other:

    python3 -m venv ray-env
    ray-env/bin/pip install 'ray[train]==2.60.0' tensorflow-cpu==2.19.1 \
        tf-keras==2.19.0 'setuptools<81'
    ray-env/bin/python experiments/benchmarks/peers/ray_keras.py --workers 2

It imports nothing of this project.

The last line is one JSON object: `images_per_second` of all workers by epoch, `steady`
from the second epoch on, and `seconds` from the start of this program to the end of
training.
"""

import argparse
import json
import os
import sys
import tempfile
import time
from collections.abc import Sequence

OUTPUTS = 15


def train(sizes: dict[str, int]) -> list[float]:
    """Runs on each worker: seconds of each epoch on its share of the images."""
    import numpy as np
    import tensorflow as tf
    import tf_keras
    from ray import train as ray_train

    tf.config.threading.set_intra_op_parallelism_threads(1)
    # Two, since the exchange of gradients waits within one.
    tf.config.threading.set_inter_op_parallelism_threads(2)
    strategy = tf.distribute.MultiWorkerMirroredStrategy()
    if strategy.num_replicas_in_sync != sizes["workers"]:
        raise RuntimeError("the workers do not train together")
    size, share = sizes["image_size"], -(-sizes["images"] // sizes["workers"])
    steps = -(-share // sizes["batch_size"])
    rng = np.random.default_rng(ray_train.get_context().get_world_rank())
    pixels = rng.integers(0, 256, (share, size, size, 1), np.uint8)
    labels = (rng.random((share, OUTPUTS)) > 0.8).astype(np.float32)

    def prepare(images, targets):
        return tf.image.grayscale_to_rgb(
            tf.cast(images, tf.float32) / 127.5 - 1
        ), targets

    def own_images(_):  # each worker's share, which nobody is to cut again
        images = tf.data.Dataset.from_tensor_slices((pixels, labels)).shuffle(share)
        return images.batch(sizes["batch_size"]).map(prepare).repeat()

    with strategy.scope():
        shape = (size, size, 3)
        base = tf_keras.applications.MobileNet(
            shape, 1.0, include_top=False, weights=None
        )
        pooled = tf_keras.layers.GlobalAveragePooling2D()(base.output)
        outputs = tf_keras.layers.Dense(OUTPUTS, "sigmoid")(pooled)
        model = tf_keras.Model(base.input, outputs)
        model.compile(tf_keras.optimizers.Adam(1e-3), "binary_crossentropy")
    ends = [time.perf_counter()]
    timer = tf_keras.callbacks.LambdaCallback(
        on_epoch_end=lambda *_: ends.append(time.perf_counter())
    )
    # One call: each spends seconds until the workers have found each other.
    model.fit(
        strategy.distribute_datasets_from_function(own_images),
        epochs=sizes["epochs"],
        steps_per_epoch=steps,
        verbose=0,
        callbacks=[timer],
    )
    if model.optimizer.iterations.numpy() != steps * sizes["epochs"]:
        raise RuntimeError("the workers trained another number of batches")
    return np.diff(ends).tolist()


def main(arguments: Sequence[str] | None = None) -> int:
    """Train on a Ray cluster of this machine and print one JSON object."""
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

    os.environ["TF_USE_LEGACY_KERAS"] = "1"
    import ray
    from ray.train import RunConfig, ScalingConfig
    from ray.train.tensorflow import TensorflowTrainer

    ray.init(num_cpus=options.workers, include_dashboard=False, log_to_driver=False)
    scaling = ScalingConfig(num_workers=options.workers)
    with tempfile.TemporaryDirectory() as folder:  # in place of one at home
        trainer = TensorflowTrainer(
            train,
            train_loop_config=vars(options),
            scaling_config=scaling,
            run_config=RunConfig(storage_path=folder),
        )
        seconds = trainer.fit().return_value
    whole = time.perf_counter() - started
    ray.shutdown()
    trained = -(-options.images // options.workers) * options.workers
    steady = trained * (len(seconds) - 1) / sum(seconds[1:]) if seconds[1:] else None
    rates = [trained / value for value in seconds]
    print(json.dumps({"images_per_second": rates, "steady": steady, "seconds": whole}))
    return 0


if __name__ == "__main__":
    sys.exit(main())
