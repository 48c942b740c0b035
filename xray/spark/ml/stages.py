"""Spark ML stages: XrayEstimator, the XrayModel it gives, and BackboneFeaturizer.

    from xray.spark.ml.stages import BackboneFeaturizer, XrayEstimator

PySpark's classes are their bases, and no module of ours imports PySpark before it is
used: so the stages are made when one is first asked for.
"""

import os
from functools import cache
from typing import TYPE_CHECKING, Any

from xray.common.errors import UserError
from xray.config.file import parse_config
from xray.config.run import RunConfig
from xray.model.archive import pack, unpack
from xray.spark.cluster import join_cluster
from xray.spark.ml.fit import check_learnable, check_trainable, train_network
from xray.spark.ml.frames import collect_subset
from xray.spark.ml.network import (
    add_outputs,
    build_backbone,
    read_network,
    write_network,
)

if TYPE_CHECKING:
    import keras
    from pyspark.sql import DataFrame

# Params of the estimator that stand for a setting, so that a ParamGridBuilder can vary
# them; what they are is told in xray/config/run.py.
SETTINGS = {
    "epochs": ("training", "epochs"),
    "batchSize": ("training", "batch_size"),
    "learningRate": ("training", "learning_rate"),
    "seed": ("training", "seed"),
    "numWorkers": ("runner", "workers"),
}


def __getattr__(name: str) -> type:
    """A stage by its name."""
    makers = {
        "XrayEstimator": _make_estimator,
        "XrayModel": _make_model,
        "BackboneFeaturizer": _make_featurizer,
    }
    if name not in makers:
        raise AttributeError(f"module {__name__!r} has no attribute {name!r}")
    stage = makers[name]()
    stage.__qualname__ = name  # as if it stood at the top of this module
    return stage


@cache
def _make_network_stage() -> type:
    from pyspark.ml.param.shared import HasInputCol, HasOutputCol
    from pyspark.ml.util import (
        DefaultParamsReader,
        DefaultParamsWriter,
        MLReadable,
        MLWritable,
    )

    class NetworkWriter(DefaultParamsWriter):
        def saveImpl(self, path: str) -> None:
            super().saveImpl(path)
            archive = self.instance.archive()
            write_network(self.sparkSession, archive, os.path.join(path, "data"))

    class NetworkReader(DefaultParamsReader):
        def load(self, path: str) -> Any:
            stage = super().load(path)
            archive = read_network(self.sparkSession, os.path.join(path, "data"))
            stage.take_archive(archive)
            return stage

    class NetworkStage(HasInputCol, HasOutputCol, MLReadable, MLWritable):
        """Adds a network's outputs for the pixels of each row."""

        gives_vector = False

        def __init__(self, output: str, **params: str | None) -> None:
            super().__init__()
            self._setDefault(inputCol="pixels", outputCol=output)
            self._set(**{name: v for name, v in params.items() if v is not None})

        @property
        def network(self) -> "keras.Model":
            """A copy of the network, to use without Spark."""
            return unpack(self.archive(), self.uid)

        def _transform(self, dataset: "DataFrame") -> "DataFrame":
            columns = (self.getInputCol(), self.getOutputCol())
            return add_outputs(dataset, self.archive(), *columns, self.gives_vector)

        def write(self) -> NetworkWriter:
            """A writer of the params and the network."""
            return NetworkWriter(self)

        @classmethod
        def read(cls) -> NetworkReader:
            """The reader of what `write` wrote."""
            return NetworkReader(cls)

    return NetworkStage


@cache
def _make_model() -> type:
    from pyspark.ml import Model

    class XrayModel(_make_network_stage(), Model):
        """Adds the probabilities of the 15 findings: array<float>, null for no pixels.

        Args:
            network: any of our trained networks; None where one is loaded.
            inputCol: binary column of pixels; "pixels" by default.
            outputCol: to add, in the order of `labels.FINDINGS`; "probabilities" by
                default.

        Attributes:
            losses: mean training loss of each epoch; empty after loading.
        """

        def __init__(
            self,
            network: "keras.Model | None" = None,
            *,
            inputCol: str | None = None,
            outputCol: str | None = None,
        ) -> None:
            super().__init__("probabilities", inputCol=inputCol, outputCol=outputCol)
            self.losses: list[float] = []
            self._archive = None if network is None else pack(network)

        def archive(self) -> bytes:
            """The network as `pack` gives it."""
            if self._archive is None:
                raise UserError("XrayModel has no network. Fit or load one.")
            return self._archive

        def take_archive(self, archive: bytes) -> None:
            """Use this network."""
            self._archive = archive

    return XrayModel


@cache
def _make_config_param() -> type:
    from pyspark.ml.param import Param, Params

    class HasConfig(Params):
        config = Param(
            Params._dummy(),
            "config",
            "a RunConfig, or its sections by name",
            typeConverter=_to_settings,
        )

        def settings(self) -> dict[str, Any]:
            """The sections of the configuration by name."""
            if not self.isSet(self.config):
                raise UserError(
                    f"{type(self).__name__} needs config=load_config(FILE), from "
                    "xray.config.file."
                )
            return self.getOrDefault(self.config)

    return HasConfig


def _to_settings(config: RunConfig | dict[str, Any]) -> dict[str, Any]:
    settings = config.to_dict() if isinstance(config, RunConfig) else config
    return parse_config(settings, "config").to_dict()


@cache
def _make_featurizer() -> type:
    from pyspark.ml import Transformer

    class BackboneFeaturizer(_make_network_stage(), _make_config_param(), Transformer):
        """Adds what the frozen backbone says of each image: a vector, pooled.

        The backbone is that of the configuration's `model` section with its weights.

        Args:
            config: a RunConfig; None where one is loaded.
            inputCol: binary column of pixels; "pixels" by default.
            outputCol: to add; "features" by default.
        """

        gives_vector = True

        def __init__(
            self,
            *,
            config: RunConfig | dict[str, Any] | None = None,
            inputCol: str | None = None,
            outputCol: str | None = None,
        ) -> None:
            super().__init__(
                "features", config=config, inputCol=inputCol, outputCol=outputCol
            )
            self._built: tuple[dict[str, Any], bytes] | None = None

        def archive(self) -> bytes:
            """The frozen backbone as `pack` gives it."""
            settings = self.settings()
            if self._built is None or self._built[0] != settings:
                config = parse_config(settings, "config")
                self._built = settings, pack(build_backbone(config))
            return self._built[1]

        def take_archive(self, archive: bytes) -> None:
            """Use this backbone as the configuration's, with the weights it had."""
            self._built = self.settings(), archive

    return BackboneFeaturizer


@cache
def _make_training_params() -> type:
    from pyspark.ml.param import Param, Params, TypeConverters

    def column(name: str) -> Param:
        text = f"column of {name.removesuffix('Col')}"
        return Param(Params._dummy(), name, text, TypeConverters.toString)

    def setting(name: str, converter: Any) -> Param:
        text = f"{'.'.join(SETTINGS[name])} in place of the configuration's"
        return Param(Params._dummy(), name, text, converter)

    class HasTraining(_make_config_param()):
        imageCol, patientCol = column("imageCol"), column("patientCol")
        uriCol = column("uriCol")
        etagCol, labelsCol = column("etagCol"), column("labelsCol")
        epochs = setting("epochs", TypeConverters.toInt)
        batchSize = setting("batchSize", TypeConverters.toInt)
        learningRate = setting("learningRate", TypeConverters.toFloat)
        seed = setting("seed", TypeConverters.toInt)
        numWorkers = setting("numWorkers", TypeConverters.toInt)

        def run_config(self) -> RunConfig:
            """The configuration with the settings given beside it."""
            settings = _to_settings(self.settings())
            for name, (section, key) in SETTINGS.items():
                if self.isSet(self.getParam(name)):
                    settings[section][key] = self.getOrDefault(name)
            return parse_config(settings, type(self).__name__)

    return HasTraining


@cache
def _make_estimator() -> type:
    from pyspark.ml import Estimator
    from pyspark.ml.param.shared import HasInputCol, HasOutputCol
    from pyspark.ml.util import DefaultParamsReadable, DefaultParamsWritable

    class XrayEstimator(
        Estimator,
        _make_training_params(),
        HasInputCol,
        HasOutputCol,
        DefaultParamsReadable,
        DefaultParamsWritable,
    ):
        """Trains the run's network on every row, by resident workers on this cluster.

        Rows hold the images' addresses; each worker reads and decodes its own share.

        Args:
            params: any of config (a RunConfig, needed), epochs, batchSize,
                learningRate, seed, numWorkers (settings in its place), imageCol,
                patientCol, uriCol, etagCol, labelsCol (as in
                `spark_images.image_frame` by default), and inputCol and outputCol of
                the XrayModel.
        """

        def __init__(self, **params: Any) -> None:
            super().__init__()
            self._setDefault(imageCol="image", patientCol="patient")
            self._setDefault(uriCol="uri", etagCol="etag", labelsCol="labels")
            self._setDefault(inputCol="pixels", outputCol="probabilities")
            known = [param.name for param in self.params]
            for name in params:
                if name not in known:
                    raise UserError(
                        f"XrayEstimator has no parameter {name!r}. Known ones: "
                        f"{', '.join(known)}."
                    )
            self._set(**params)

        def _fit(self, dataset: "DataFrame") -> Any:
            config = self.run_config()
            context = dataset.sparkSession.sparkContext
            check_trainable(config, context.getConf().get)
            names = ("imageCol", "patientCol", "uriCol", "etagCol", "labelsCol")
            subset = collect_subset(dataset, *map(self.getOrDefault, names))
            check_learnable(subset)
            cluster = join_cluster(context, config.runner)
            network, losses = train_network(cluster, config, subset)
            model = self._copyValues(_make_model()(network))
            model.losses = losses
            return model

    return XrayEstimator
