"""The stages of xray.spark.ml.stages and their bases, which are PySpark's classes.

The one module of ours that imports a framework at its top: a class needs its bases
when it is made. Import the stages from xray.spark.ml.stages, which loads this late.
"""

import os
from typing import TYPE_CHECKING, Any

from pyspark.ml import Estimator, Model, Transformer
from pyspark.ml.evaluation import Evaluator
from pyspark.ml.param import Param, Params, TypeConverters
from pyspark.ml.param.shared import HasInputCol, HasOutputCol
from pyspark.ml.util import (
    DefaultParamsReadable,
    DefaultParamsReader,
    DefaultParamsWritable,
    DefaultParamsWriter,
    MLReadable,
    MLWritable,
)

from xray.common.errors import UserError
from xray.config.file import parse_config
from xray.config.run import RunConfig
from xray.model.archive import pack, unpack
from xray.spark.cluster import join_cluster
from xray.spark.ml.findings import macro_of
from xray.spark.ml.fit import (
    SETTINGS,
    check_learnable,
    check_trainable,
    to_settings,
    train_network,
)
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

# Where the stages are found: saved pipelines and pickles name a class by its module.
FACE = "xray.spark.ml.stages"


def _column(name: str) -> Param:
    text = f"column of {name.removesuffix('Col')}"
    return Param(Params._dummy(), name, text, TypeConverters.toString)


class NetworkWriter(DefaultParamsWriter):
    """Writes the params, and the network beside them."""

    def saveImpl(self, path: str) -> None:
        """Called by Spark ML's `save`."""
        super().saveImpl(path)
        archive = self.instance.archive()
        write_network(self.sparkSession, archive, os.path.join(path, "data"))


class NetworkReader(DefaultParamsReader):
    """Reads what `NetworkWriter` wrote."""

    def load(self, path: str) -> Any:
        """The stage at `path` with its network."""
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


class XrayModel(NetworkStage, Model):
    """Adds the probabilities of the 15 findings: array<float>, null for no pixels.

    Args:
        network: any of our trained networks; None where one is loaded.
        inputCol: binary column of pixels; "pixels" by default.
        outputCol: to add, in the order of `labels.FINDINGS`; "probabilities" by
            default.

    Attributes:
        losses: mean training loss of each epoch; empty after loading.
    """

    __module__ = FACE

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


class FindingsEvaluator(Evaluator):
    """Macro AUC over the findings with both values, by the metric of every record.

    For `CrossValidator` and `TrainValidationSplit`; rows without probabilities, whose
    images are unreadable, do not count.

    Args:
        probabilitiesCol: column of probabilities; "probabilities" by default.
        labelsCol: column of labels; "labels" by default.
    """

    __module__ = FACE
    probabilitiesCol, labelsCol = _column("probabilitiesCol"), _column("labelsCol")

    def __init__(
        self, *, probabilitiesCol: str | None = None, labelsCol: str | None = None
    ) -> None:
        super().__init__()
        self._setDefault(probabilitiesCol="probabilities", labelsCol="labels")
        given = {"probabilitiesCol": probabilitiesCol, "labelsCol": labelsCol}
        self._set(**{name: value for name, value in given.items() if value})

    def isLargerBetter(self) -> bool:
        """It is."""
        return True

    def _evaluate(self, dataset: "DataFrame") -> float:
        scores, labels = map(self.getOrDefault, ("probabilitiesCol", "labelsCol"))
        found = macro_of(dataset, scores, labels)
        if found is None:
            raise UserError(
                "No finding has both values among the rows to evaluate. Use more rows, "
                "or fewer folds."
            )
        return found


class HasConfig(Params):
    """A stage made by a run's configuration."""

    config = Param(
        Params._dummy(),
        "config",
        "a RunConfig, or its sections by name",
        typeConverter=to_settings,
    )

    def settings(self) -> dict[str, Any]:
        """The sections of the configuration by name."""
        if not self.isSet(self.config):
            raise UserError(
                f"{type(self).__name__} needs config=load_config(FILE), from "
                "xray.config.file."
            )
        return self.getOrDefault(self.config)


class BackboneFeaturizer(NetworkStage, HasConfig, Transformer):
    """Adds what the frozen backbone says of each image: a vector, pooled.

    The backbone is that of the configuration's `model` section with its weights.

    Args:
        config: a RunConfig; None where one is loaded.
        inputCol: binary column of pixels; "pixels" by default.
        outputCol: to add; "features" by default.
    """

    __module__ = FACE
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


def _setting(name: str, converter: Any) -> Param:
    text = f"{'.'.join(SETTINGS[name])} in place of the configuration's"
    return Param(Params._dummy(), name, text, converter)


class HasTraining(HasConfig):
    """Settings beside the configuration, and the columns to train on."""

    imageCol, patientCol = _column("imageCol"), _column("patientCol")
    uriCol = _column("uriCol")
    etagCol, labelsCol = _column("etagCol"), _column("labelsCol")
    epochs = _setting("epochs", TypeConverters.toInt)
    batchSize = _setting("batchSize", TypeConverters.toInt)
    learningRate = _setting("learningRate", TypeConverters.toFloat)
    seed = _setting("seed", TypeConverters.toInt)
    numWorkers = _setting("numWorkers", TypeConverters.toInt)

    def run_config(self) -> RunConfig:
        """The configuration with the settings given beside it."""
        settings = to_settings(self.settings())
        for name, (section, key) in SETTINGS.items():
            if self.isSet(self.getParam(name)):
                settings[section][key] = self.getOrDefault(name)
        return parse_config(settings, type(self).__name__)


class XrayEstimator(
    Estimator,
    HasTraining,
    HasInputCol,
    HasOutputCol,
    DefaultParamsReadable,
    DefaultParamsWritable,
):
    """Trains the run's network on every row, by resident workers on this cluster.

    Rows hold the images' addresses; each worker reads and decodes its own share.

    Args:
        params: any of config (a RunConfig, needed), epochs, batchSize, learningRate,
            seed, numWorkers (settings in its place), imageCol, patientCol, uriCol,
            etagCol, labelsCol (as in `frames.image_frame` by default), and inputCol
            and outputCol of the XrayModel.
    """

    __module__ = FACE

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
        model = self._copyValues(XrayModel(network))
        model.losses = losses
        return model
