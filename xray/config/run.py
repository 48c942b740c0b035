"""RunConfig: the work and the run, every setting with its meaning and limits."""

from typing import Annotated, Any, Literal

from pydantic import Field, field_validator, model_validator

from xray.common.errors import UserError
from xray.config.backbones import BACKBONES
from xray.config.data import LATER, PLACE, DataConfig
from xray.config.recipe import ModelConfig, TrainingConfig
from xray.config.runners import RUNNERS
from xray.config.section import Count, LocalPath, Section


class RunnerConfig(Section):
    """How the work is executed; nothing here is part of the work itself."""

    workers: Count | None = None
    """Spark tasks that train at once; null takes every slot of the cluster."""
    threads_per_worker: Count | None = None
    """Cores of each worker, or of the sequential runner's one process; null is one."""
    mode: Literal["synchronous", "asynchronous", "hogwild"] = "synchronous"
    frequency: Literal["epoch", "batch"] = "epoch"
    """How often asynchronous workers exchange weights."""
    engine: Literal["resident", "stock"] = "resident"
    """Synchronous training in workers that stay alive, or as Elephas comes; the other
    modes are always stock."""
    sync_every: Count | Literal["epoch"] = "epoch"
    """Resident engine: average after every epoch, or after so many steps."""
    optimizer_state: Literal["kept", "averaged", "reset"] = "kept"
    """Resident engine: after an average each worker keeps its own optimizer state,
    takes the mean of all, or starts anew as stock Elephas does."""
    outer_momentum: Annotated[float, Field(ge=0, lt=1)] = 0.0
    """Resident engine: Nesterov momentum on what each average changes, as DiLoCo's
    outer step has it (arXiv:2311.08105); 0 is the plain average."""
    master: str | None = None
    """Spark master; null takes spark-submit's, or local[cores]."""
    executor_memory: str = "2g"
    """Java heap of each executor (local: the driver's); TensorFlow lives outside it."""
    backend: Literal["tensorflow", "jax"] = "tensorflow"
    """GPU runner: what Keras computes with."""
    precision: Literal["float32", "mixed_float16", "mixed_bfloat16"] = "float32"
    """Arithmetic of the layers that multiply much; weights, averages, optimizer and
    sigmoids stay in float32. On CPUs mixed_bfloat16 is for those with AVX512_BF16 or
    AMX, and for the resident engine; mixed_float16, with a scaled loss, is for GPUs."""
    xla: bool | None = None
    """GPU runner: whether XLA compiles the steps; null is Keras' own choice, which with
    TensorFlow is yes on a GPU and no on a machine without. JAX always compiles."""
    devices: Count | None = None
    """GPU runner: GPUs that train each step together, `training.batch_size` images on
    each; null is one. More than one needs backend jax."""
    min_workers: Count | None = None
    """Resident engine: with as few, at least, training goes on where workers are lost
    and nothing replaces them; all train again from the next epoch on once there is room
    for them. null waits for all of them."""
    balance: bool = False
    """Resident engine: after an epoch whose slowest worker took a tenth longer than all
    on the average, cut the training images anew in proportion to the workers' speed."""
    wait_for_workers: Annotated[float, Field(gt=0, le=86400)] = 120
    """Seconds that too few Spark slots are waited for, at the start and after a worker
    was lost, before the run ends."""
    spark_conf: dict[str, str] = {}
    """More Spark settings, as spark-submit --conf takes them."""

    @model_validator(mode="after")
    def _synchronous_by_epoch(self) -> "RunnerConfig":
        if self.mode == "synchronous" and self.frequency == "batch":
            raise ValueError("frequency batch needs mode asynchronous or hogwild")
        return self

    @model_validator(mode="after")
    def _elephas_as_it_comes_is_float32(self) -> "RunnerConfig":
        stock = self.engine == "stock" or self.mode != "synchronous"
        if stock and self.precision != "float32":
            raise ValueError(
                f"precision={self.precision} needs engine=resident and "
                "mode=synchronous: stock Elephas stays as it comes"
            )
        return self

    @model_validator(mode="after")
    def _shares_change_in_resident_workers(self) -> "RunnerConfig":
        stock = self.engine == "stock" or self.mode != "synchronous"
        for name in ("min_workers", "balance", "outer_momentum"):
            if getattr(self, name) and stock:
                raise ValueError(
                    f"{name}={getattr(self, name)} needs engine=resident and "
                    "mode=synchronous"
                )
        if self.min_workers and self.min_workers > (self.workers or self.min_workers):
            raise ValueError(
                f"min_workers={self.min_workers} must be at most workers={self.workers}"
            )
        return self

    @model_validator(mode="after")
    def _backend_can(self) -> "RunnerConfig":
        if self.backend == "jax" and self.xla is False:
            raise ValueError("xla=false needs backend=tensorflow: JAX always compiles")
        if self.backend == "tensorflow" and (self.devices or 1) > 1:
            raise ValueError(
                f"devices={self.devices} needs backend=jax: Keras distributes training "
                "over GPUs with JAX alone"
            )
        return self


class OutputConfig(Section):
    """What a run leaves besides its record; nothing here is part of the work."""

    models: str | None = None
    """Folder or s3://bucket/prefix/ for the trained models; null saves none."""
    tensorboard: LocalPath | None = None
    """Folder for TensorBoard's event files, one folder a run; null writes none."""
    sensitivity: Annotated[float, Field(gt=0, le=1)] = 0.9
    """Beside Youden's threshold each finding gets the one from which on at least this
    share of its validation images is found; needs data.validation_fraction."""

    @field_validator("models")
    @classmethod
    def _folder_or_prefix(cls, value: str | None) -> str | None:
        if value is not None and not PLACE.fullmatch(value):
            raise ValueError("must be a folder or s3://bucket/prefix/")
        return value

    @field_validator("tensorboard", mode="before")
    @classmethod
    def _on_this_machine(cls, value: Any) -> Any:
        if value is not None and "://" in str(value):
            raise ValueError("must be a folder of this machine")
        return value


class RunConfig(Section):
    """One run: everything that can move a number in its record."""

    data: DataConfig
    model: ModelConfig = ModelConfig()
    training: TrainingConfig = TrainingConfig()
    runner: RunnerConfig = RunnerConfig()
    output: OutputConfig = OutputConfig()

    @model_validator(mode="after")
    def _size_fits_backbone(self) -> "RunConfig":
        size, crop = self.data.image_size, self.model.crop
        if crop and crop > size:
            raise ValueError(
                f"model.crop must be at most data.image_size={size}. Got {crop}"
            )
        smallest = BACKBONES[self.model.backbone].smallest
        if (crop or size) < smallest:
            name = "model.crop" if crop else "data.image_size"
            raise ValueError(
                f"{name} must be at least {smallest} for {self.model.backbone}. "
                f"Got {crop or size}"
            )
        return self

    @model_validator(mode="after")
    def _early_stopping_has_validation(self) -> "RunConfig":
        if self.training.early_stopping and not self.data.validation_fraction:
            raise ValueError(
                "training.early_stopping needs data.validation_fraction above 0"
            )
        return self

    @property
    def weighs_labels(self) -> bool:
        """Whether labels weigh differently, or nothing at all."""
        ignored = self.data.uncertain == "ignored"
        return ignored or self.training.class_weights == "balanced"

    @model_validator(mode="after")
    def _loss_can_leave_out(self) -> "RunConfig":
        if self.data.uncertain == "ignored" and self.training.loss == "focal":
            raise ValueError(
                "data.uncertain=ignored needs training.loss=binary_crossentropy"
            )
        return self

    @model_validator(mode="after")
    def _engine_can_train_so(self) -> "RunConfig":
        runner, training = self.runner, self.training
        stock = runner.engine == "stock" or runner.mode != "synchronous"
        ignored = self.data.uncertain == "ignored"
        whole = not (ignored or self.data.validation_fraction)
        if stock and not (training.plain() and whole):
            raise ValueError(
                "schedules, warm-up, frozen epochs, class weights, a scaled learning "
                "rate, ignored labels and a validation set need "
                "runner.engine=resident and "
                "runner.mode=synchronous"
            )
        if runner.optimizer_state == "averaged" and training.frozen_epochs:
            raise ValueError(
                "runner.optimizer_state=averaged cannot follow training.frozen_epochs: "
                "unfreezing makes another optimizer. Choose kept or reset"
            )
        return self

    def to_dict(self) -> dict[str, Any]:
        """Every setting as JSON values, with whatever secrets the user put there.

        Without the later ones where they are not set: by what earlier versions wrote,
        runs that are done and checkpoints are found again.
        """
        settings = self.model_dump(mode="json")
        for name in LATER:
            if getattr(self.data, name) == DataConfig.model_fields[name].default:
                del settings["data"][name]
        return settings


def check_runner(config: RunConfig, runner: str) -> None:
    """Refuse settings that are for another runner alone: this one would ignore them.

    Raises:
        UserError: one is set to other than its default, or CPUs lack the precision.
    """
    if config.runner.precision == "mixed_float16" and not RUNNERS[runner].has_gpu:
        raise UserError(
            "runner.precision=mixed_float16 is for GPUs. On a CPU with AVX512_BF16 or "
            "AMX set runner.precision=mixed_bfloat16, elsewhere float32."
        )
    owners = {name: other.name for other in RUNNERS.values() for name in other.alone}
    for name, owner in owners.items():
        value, default = getattr(config.runner, name), getattr(RunnerConfig(), name)
        if owner != runner and value != default:
            shown = "null" if default is None else default
            raise UserError(
                f"runner.{name} is for the {owner} runner alone. Got {value} for "
                f"{runner}. Remove it, or give --set runner.{name}={shown}."
            )
