"""The recipe: which network is trained, and how. Sections of the configuration."""

from typing import Annotated, Any, Literal

from pydantic import Field, field_validator, model_validator

from xray.config.backbones import BACKBONES
from xray.config.section import Count, Section, Seed


class AugmentConfig(Section):
    """Random changes of the training images, as layers inside the model."""

    flip: bool = False
    """Mirror half of the images left to right."""
    brightness: Annotated[float, Field(ge=0, le=1)] = 0.0
    """Add up to this share of white, or take it away."""
    rotation_degrees: Annotated[float, Field(ge=0, le=180)] = 0.0
    """Turn by up to this, either way."""
    translation: Annotated[float, Field(ge=0, lt=1)] = 0.0
    """Shift by up to this share of height and width."""


UNWORKED = ("evaluate_every_epoch", "scored_epochs")
"""Settings of training that move no weight: no part of the work."""


class ModelConfig(Section):
    """The one network that every runner trains."""

    backbone: str = "MobileNet"
    """Network of keras.applications, by name; or Tiny, to try things in seconds."""
    weights: str | None = None
    """none, imagenet, or a file, local or on S3: .keras or .weights.h5 of the same
    model, or .h5 of the backbone alone, as keras.applications publishes them."""
    alpha: Annotated[float, Field(gt=0, le=2)] = 1.0
    """Width multiplier of the MobileNets."""
    crop: Annotated[Count, Field(ge=8)] | None = None
    """The network sees this many pixels from the middle of the image; null is all."""
    augment: AugmentConfig = AugmentConfig()
    pooling: Literal["flatten", "avg", "max"] = "flatten"
    """How the backbone's feature map becomes a vector."""
    batch_norm_momentum: Annotated[float, Field(ge=0, lt=1)] = 0.99
    """Keras' default needs hundreds of steps; choose 0.9 where epochs are short."""
    head_units: tuple[Annotated[int, Field(ge=1, le=2**16)], ...] = (256, 64)
    """Widths of the dense ReLU layers between backbone and the 15 sigmoids."""
    dropout: Annotated[float, Field(ge=0, lt=1)] = 0.1
    """Dropout after the first dense layer, or before the sigmoids without one."""
    head_l2: Annotated[float, Field(ge=0)] = 0.0
    """L2 penalty on the weights of the dense layers, added to the loss."""

    @field_validator("backbone")
    @classmethod
    def _known_backbone(cls, value: str) -> str:
        by_lower_name = {name.lower(): name for name in BACKBONES}
        if value.lower() not in by_lower_name:
            raise ValueError(f"must be one of {', '.join(BACKBONES)}")
        return by_lower_name[value.lower()]

    @field_validator("weights")
    @classmethod
    def _known_weights(cls, value: str | None) -> str | None:
        if value is None or value.lower() == "none":
            return None
        if value != "imagenet" and not value.endswith((".keras", ".h5")):
            raise ValueError("must be none, imagenet, or a .keras or .h5 file")
        return value

    @model_validator(mode="after")
    def _imagenet_has_it(self) -> "ModelConfig":
        if self.weights == "imagenet" and not BACKBONES[self.backbone].published:
            raise ValueError(f"there are no imagenet weights of {self.backbone}")
        return self

    @model_validator(mode="after")
    def _alpha_fits(self) -> "ModelConfig":
        alphas = BACKBONES[self.backbone].alphas
        if not alphas and self.alpha != 1:
            raise ValueError(
                f"alpha belongs to the MobileNets, not to {self.backbone}. "
                f"Got {self.alpha}"
            )
        if self.weights == "imagenet" and alphas and self.alpha not in alphas:
            raise ValueError(f"alpha must be one of {alphas} with imagenet")
        return self


class TrainingConfig(Section):
    """How the network is trained, the same in every runner."""

    epochs: Count = 5
    batch_size: Count = 32
    """Images per step and worker."""
    optimizer: Literal["rmsprop", "adam", "adamw", "sgd", "lamb"] = "rmsprop"
    momentum: Annotated[float, Field(ge=0, lt=1)] = 0.0
    """Of sgd and rmsprop."""
    weight_decay: Annotated[float, Field(ge=0)] = 0.0
    """Share of the learning rate by which every step shrinks the weights."""
    clip_norm: Annotated[float, Field(gt=0)] | None = None
    """Largest norm of all gradients together; larger ones are scaled down to it."""
    learning_rate: Annotated[float, Field(gt=0)] = 2e-5
    scale_learning_rate: bool = False
    """Multiply the learning rate by the number of workers, as the global batch grows
    (Goyal et al. 2017, arXiv:1706.02677)."""
    warmup_epochs: Annotated[float, Field(ge=0)] = 0.0
    """The learning rate rises linearly from zero over so many epochs, step by step."""
    schedule: Literal["constant", "cosine", "plateau"] = "constant"
    """After the warm-up: as it is, half a cosine down to zero at the last step, or
    multiplied by plateau_factor whenever plateau_patience epochs bring no better
    validation AUC (training loss without a validation set)."""
    plateau_factor: Annotated[float, Field(gt=0, lt=1)] = 0.1
    plateau_patience: Count = 2
    frozen_epochs: Annotated[int, Field(ge=0, le=2**31 - 1)] = 0
    """First epochs in which the head alone is trained; `epochs` never unfreezes."""
    unfrozen_factor: Annotated[float, Field(gt=0, le=1)] = 1.0
    """Multiplies the learning rate once the backbone is unfrozen."""
    loss: Literal["binary_crossentropy", "focal"] = "binary_crossentropy"
    """focal: Lin et al. 2017, arXiv:1708.02002."""
    focal_gamma: Annotated[float, Field(ge=0)] = 2.0
    class_weights: Literal["none", "balanced"] = "none"
    """balanced: a finding's positives weigh as its share of negatives, its negatives as
    its share of positives (CheXNet, arXiv:1711.05225)."""
    early_stopping: Count | None = None
    """Stop after so many epochs without a better validation AUC."""
    seed: Seed = 0
    """Of the initial weights, the order of the images, dropout and augmentation."""
    scored_epochs: Count = 6
    """For the curve of AUC against time, so many epochs are scored outside `fit`: all,
    or as many spread evenly, the last among them. On the validation set where there is
    one, which is scored after every epoch, else on the test set, which chooses
    nothing."""
    evaluate_every_epoch: bool = False
    """Score the test set after every epoch, validation set or not."""

    @field_validator("optimizer", mode="before")
    @classmethod
    def _lower(cls, value: Any) -> Any:
        return value.lower() if isinstance(value, str) else value

    @model_validator(mode="after")
    def _parts_fit(self) -> "TrainingConfig":
        for name in ("warmup_epochs", "frozen_epochs", "early_stopping"):
            if (getattr(self, name) or 0) > self.epochs:
                raise ValueError(
                    f"{name} must be at most the {self.epochs} epochs of the run. Got "
                    f"{getattr(self, name):g}"
                )
        if self.momentum and self.optimizer not in ("sgd", "rmsprop"):
            raise ValueError(f"{self.optimizer} takes no momentum. Got {self.momentum}")
        if self.loss == "focal" and self.class_weights == "balanced":
            raise ValueError("choose loss=focal or class_weights=balanced, not both")
        return self

    def is_scored(self, epoch: int) -> bool:
        """Whether the test set is scored after `epoch`, from 1, without another set."""
        # The k-th of K scored epochs of E is the first at or after E k/K.
        count = min(self.scored_epochs, self.epochs)
        return epoch * count // self.epochs > (epoch - 1) * count // self.epochs

    def plain(self) -> bool:
        """Whether Elephas can train so as it comes: one rate, one loss, one stage."""
        return (
            self.schedule == "constant"
            and not (self.warmup_epochs or self.frozen_epochs)
            and not (self.scale_learning_rate or self.early_stopping)
            and self.class_weights == "none"
        )

    def rate_varies_by_step(self) -> bool:
        """Whether the learning rate changes within an epoch."""
        return self.schedule == "cosine" or self.warmup_epochs > 0
