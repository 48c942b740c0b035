"""The configuration of an inference job: that of the model's run, and the user's."""

from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

from xray.common.errors import UserError
from xray.config.file import apply_override, load_config, parse_config
from xray.config.run import RunConfig
from xray.model.sidecar import ModelInfo
from xray.storage.credentials import S3Access
from xray.storage.place import access_for

EVERYTHING = "all"
SUBSETS = (EVERYTHING, "train", "validation", "test")
Settings = dict[str, dict[str, Any]]


def user_settings(
    path: Path | None, options: Mapping[str, Any], overrides: Sequence[str]
) -> Settings:
    """What the user asks for, by section: of a file, then by options, then by --set.

    Args:
        path: of a run's configuration, of which `data` and `runner` count.
        options: `images`, `labels` and `credentials`, where given. Other images are not
            the ones that were staged.
        overrides: section.key=value

    Raises:
        UserError: the file or an override is malformed.
    """
    settings: Settings = {"data": {}, "runner": {}}
    if path:
        config = load_config(path)
        for section in settings:
            given = getattr(config, section)
            settings[section] = given.model_dump(exclude_unset=True)
    if options.get("images"):
        settings["data"]["staged"] = None
    for name in ("images", "labels", "credentials"):
        if options.get(name):
            settings["data"][name] = options[name]
    for override in overrides:
        apply_override(settings, override)
    return settings


def model_access(model: str, data: Mapping[str, Any]) -> S3Access | None:
    """How to reach the model, whose sidecar tells the rest only later.

    Args:
        model: its path or address.
        data: the section of `user_settings`.

    Raises:
        UserError: the credentials cannot be used.
    """
    credentials = data.get("credentials")
    file = Path(str(credentials)) if credentials else None
    return access_for(model, file, data.get("endpoint_url"))


def knows_labels(data: Mapping[str, Any]) -> bool:
    """Whether the label file is that of the images: named with them, or both unnamed.

    Args:
        data: the section of `user_settings`.
    """
    return "labels" in data or "images" not in data


def job_config(settings: Settings, info: ModelInfo, model: str) -> RunConfig:
    """The user's settings on top of the data and the network of the model's own run.

    Args:
        settings: of `user_settings`.
        info: of the model.
        model: its address, for messages.

    Raises:
        UserError: a setting is unknown, refused, missing or not for this model.
    """
    own = {name: info.config.get(name) or {} for name in ("data", "model")}
    own["data"] = {**own["data"], "subgroups": {}}  # which are not scored here
    data = {**own["data"], **settings["data"]}
    config = parse_config({**own, **settings, "data": data}, model)
    if list(config.data.findings) != info.findings:
        raise UserError(
            f"data.label_schema must be that of the model, which tells "
            f"{', '.join(info.findings)[:200]}. Got {config.data.label_schema}, with "
            "other findings. Leave it out."
        )
    if config.data.image_size != info.image_size:
        raise UserError(
            f"data.image_size must be the model's, {info.image_size}. Got "
            f"{config.data.image_size}. Leave it out."
        )
    return config
