"""Nothing secret and no host is left in what goes into a record."""

import platform

import pytest

from xray.common.redaction import HIDDEN, hashed_host, redacted, without_secrets

SECRET = "TopSecretValue123"


@pytest.mark.parametrize(
    "name",
    [
        "spark.authenticate.secret",
        "spark.ssl.keyPassword",
        "spark.ssl.historyServer.keyStorePassword",
        "spark.ssl.trustStorePassword",
        "spark.hadoop.fs.s3a.secret.key",
        "spark.hadoop.fs.s3a.access.key",
        "spark.hadoop.fs.s3a.session.token",
        "spark.hadoop.fs.s3a.server-side-encryption.key",
        "spark.hadoop.fs.azure.account.key.mine.blob",
        "spark.hadoop.javax.jdo.option.ConnectionPassword",
        "spark.executorEnv.AWS_SECRET_ACCESS_KEY",
        "spark.executorEnv.AWS_SESSION_TOKEN",
        "spark.kubernetes.authenticate.submission.oauthToken",
        "passphrase",
        "API_KEY",
    ],
)
def test_a_secret_is_known_by_its_name(name):
    assert redacted({"spark_conf": {name: SECRET}}) == {"spark_conf": {name: HIDDEN}}
    assert redacted({name: 123456}) == {name: HIDDEN}
    assert redacted({name: [SECRET]}) == {name: [HIDDEN]}
    assert SECRET not in without_secrets(f"-Da=b -D{name}={SECRET} -Dc=d")


@pytest.mark.parametrize(
    "secret",
    [
        "AKIAIOSFODNN7EXAMPLE",
        "wJalrXUtnFEMI/K7MDENG/bPxRfiCYEXAMPLEKEY1"[:40],
        "eyJhbGciOiJIUzI1NiJ9.eyJzdWIiOiIxMjM0In0.abcdefghijk",
        "ghp_abcdefghijklmnopqrstuvwxyz0123456789",
    ],
)
def test_a_secret_is_known_by_its_shape(secret):
    assert redacted({"spark.x.y": secret}) == {"spark.x.y": HIDDEN}


@pytest.mark.parametrize(
    ("url", "shown"),
    [
        ("http://user:pass@127.0.0.1:9000", "http://***@127.0.0.1:9000"),
        ("https://token@localhost/x", "https://***@localhost/x"),
        ("http://u:p@ss@localhost", "http://***@localhost"),
        ("https://s3.eu-west-1.amazonaws.com", "https://s3.eu-west-1.amazonaws.com"),
        ("http://u:p/w+1@localhost:9", "http://***@localhost:9"),
        ("s3a://key:se/cret@bucket/x", "s3a://***@bucket/x"),
        ("s3://bucket/a@b", "s3://bucket/a@b"),
        ("http://[::1]:80/a", "http://[::1]:80/a"),
        ("s3://bucket/prefix/", "s3://bucket/prefix/"),
    ],
)
def test_an_address_loses_its_user(url, shown):
    assert redacted({"endpoint_url": url}) == {"endpoint_url": shown}
    assert (
        redacted(f"The server at {url} is gone.") == f"The server at {shown} is gone."
    )


@pytest.mark.parametrize(
    "text",
    [
        "http://minio.example.org:9000/x",
        "spark://minio.example.org:7077",
        "spark://127.0.0.1:7077,minio.example.org:7077",
        "S3 at https://minio.example.org does not answer",
        "S3 at https://minio.example.org. It is gone",
        "Lost task 1 (executor 2 on minio.example.org): gone",
        "Failed to connect to minio.example.org:7077",
        "minio.example.org/10.2.3.4:7077 refused",
    ],
)
def test_a_host_becomes_a_hash(text):
    hidden = redacted(text)
    assert "minio" not in hidden
    assert "10.2.3.4" not in hidden
    assert hashed_host("minio.example.org") in hidden


def test_own_name_and_named_hosts_become_hashes():
    own = platform.node()
    assert own not in redacted(f"It stopped on {own}: why?").split()
    conf = {"spark.driver.host": "box", "spark.hadoop.fs.s3a.endpoint": "box:9000"}
    hashed = hashed_host("box")
    assert [*redacted(conf).values()] == [hashed, f"{hashed}:9000"]


@pytest.mark.parametrize(
    ("name", "value"),
    [
        ("spark.authenticate", "true"),
        ("spark.io.encryption.keySizeBits", "256"),
        ("spark.ssl.useNodeLocalConf.secret", "false"),
        ("credentials", "/home/me/credentials.yaml"),
        ("spark.hadoop.fs.s3a.aws.credentials.provider", "org.example.Provider"),
        ("commit", "0123456789abcdef0123456789abcdef01234567"),
        ("spark.executor.memory", "2g"),
        ("spark.executor.cores", 2),
        ("error", "The loss is nan after epoch 3. Lower training.learning_rate=0.1."),
        ("weights", None),
        ("master", "local[2]"),
    ],
)
def test_anything_else_stays(name, value):
    assert redacted({name: value}) == {name: value}


def test_advice_stays_readable():
    advice = "--set takes section.key=value. Got 'training'; try training.epochs=3."
    assert without_secrets(advice) == advice
