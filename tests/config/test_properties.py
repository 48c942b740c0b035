"""Whatever stands in a configuration: it is taken, or refused in one line."""

import yaml
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from tests.config.test_run import DATA
from xray.common.errors import UserError
from xray.config.file import load_config, parse_config
from xray.config.run import RunConfig

quick = settings(
    derandomize=True,
    deadline=None,
    max_examples=60,
    suppress_health_check=[HealthCheck.function_scoped_fixture, HealthCheck.too_slow],
)
SECTIONS = {
    name: f.annotation.model_fields for name, f in RunConfig.model_fields.items()
}
KEYS = st.sampled_from([(s, key) for s, fields in SECTIONS.items() for key in fields])
PLAIN = (
    st.none()
    | st.booleans()
    | st.integers()
    | st.sampled_from([10**30, -1, 2**32, 10**400, ""])
    | st.floats()
    | st.text(st.characters(), max_size=8)
)
VALUES = st.recursive(
    PLAIN,
    lambda inner: (
        st.lists(inner, max_size=3)
        | st.dictionaries(st.text(max_size=4) | st.integers(), inner, max_size=3)
    ),
    max_leaves=4,
)
TAGS = ["!!bool", "!!int", "!!float", "!!timestamp", "!!binary", "!!set", "!!omap", ""]


def is_one_line(error: UserError) -> bool:
    return str(error).splitlines() == [str(error)] and len(str(error)) < 400


@quick
@given(KEYS, VALUES)
def test_a_value_is_taken_and_written_back_or_refused_in_one_line(place, value):
    section, key = place
    settings = {"data": DATA}
    settings[section] = {**settings.get(section, {}), key: value}
    try:
        config = parse_config(settings, "run.yaml")
    except UserError as error:
        assert is_one_line(error)
        assert section in str(error)
        return
    text = config.model_dump_json()
    assert RunConfig.model_validate_json(text) == config


@quick
@given(st.sampled_from(TAGS), st.text(max_size=12), KEYS)
def test_any_text_of_yaml_is_taken_or_refused_in_one_line(tmp_path, tag, text, place):
    path = tmp_path / "run.yaml"
    path.write_text(yaml.safe_dump({"data": DATA}))
    try:
        load_config(path, [f"{'.'.join(place)}={tag} {text}"])
    except UserError as error:
        assert is_one_line(error)
    path.write_bytes(f"{tag} {text}".encode())
    try:
        load_config(path)
    except UserError as error:
        assert is_one_line(error)
