"""Settings: what is refused, what is kept secret, and that the documentation has them all."""

import ssl
from pathlib import Path
from typing import Any

import pytest
from msgspec.structs import replace

from agents.settings import SETTINGS, Settings, SettingsError, table

DOCS = Path(__file__).parents[2] / "docs" / "brokers.md"


def test_every_setting_is_documented() -> None:
    assert table() in DOCS.read_text(), "docs/brokers.md: put the output of agents.settings.table() there"


def test_nothing_set_gives_the_defaults() -> None:
    assert Settings.from_env({"PATH": "/bin", "ENGAGE_USERNAME": ""}) == Settings()


def test_values_are_read_by_their_type() -> None:
    settings = Settings.from_env(
        {
            "ENGAGE_BROKER": "a:1,[::1]:2",
            "ENGAGE_PARTITIONS": "4",
            "ENGAGE_FLUSH_SECONDS": "0.5",
            "ENGAGE_SECURITY": "sasl_ssl",
            "ENGAGE_USERNAME": "worker",
            "ENGAGE_PASSWORD": "p=1",
        }
    )
    assert (settings.broker, settings.partitions, settings.flush_seconds, settings.security) == ("a:1,[::1]:2", 4, 0.5, "SASL_SSL")
    assert settings.faust_broker() == ["kafka://a:1", "kafka://[::1]:2"]
    assert settings.topic("state") == "engagement.state"


@pytest.mark.parametrize(
    ("environ", "sentence"),
    [
        ({"ENGAGE_PARTITION": "4"}, "ENGAGE_PARTITION is not a setting. The nearest one is ENGAGE_PARTITIONS; docs/brokers.md lists all."),
        ({"ENGAGE_USERNAME_FILE": "x"}, "ENGAGE_USERNAME_FILE is not a setting. The nearest one is ENGAGE_USERNAME; docs/brokers.md lists all."),
        ({"ENGAGE_PARTITIONS": "many"}, "ENGAGE_PARTITIONS is 'many'; allowed: a whole number from 1 to 1024."),
        ({"ENGAGE_PARTITIONS": "0"}, "ENGAGE_PARTITIONS is '0'; allowed: a whole number from 1 to 1024."),
        ({"ENGAGE_TICK_SECONDS": "nan"}, "ENGAGE_TICK_SECONDS is 'nan'; allowed: a number from 0.05 to 60."),
        ({"ENGAGE_SECURITY": "TLS"}, "ENGAGE_SECURITY is 'TLS'; allowed: one of PLAINTEXT, SSL, SASL_PLAINTEXT, SASL_SSL."),
        ({"ENGAGE_BROKER": "kafka"}, "ENGAGE_BROKER is 'kafka'; allowed: host:port, or several separated by commas."),
        ({"ENGAGE_TOPIC_PREFIX": "a b"}, "ENGAGE_TOPIC_PREFIX is 'a b'; allowed: up to 100 letters, digits, dots, dashes and underscores."),
        ({"ENGAGE_SITES": "nowhere.yml"}, "ENGAGE_SITES is 'nowhere.yml'; allowed: the path of a readable file."),
        ({"ENGAGE_PASSWORD_FILE": "nowhere"}, "ENGAGE_PASSWORD_FILE is 'nowhere'; allowed: the path of a readable text file with the secret in it."),
        ({"ENGAGE_PASSWORD_FILE": "x", "ENGAGE_PASSWORD": "y"}, "ENGAGE_PASSWORD and ENGAGE_PASSWORD_FILE are both set; give one of them."),
        ({"ENGAGE_HEARTBEAT": "6"}, "ENGAGE_HEARTBEAT is 6 and ENGAGE_SESSION_TIMEOUT 10; allowed: at most half of it, better a third."),
        ({"ENGAGE_SECURITY": "SASL_SSL"}, "ENGAGE_SECURITY is SASL_SSL; that needs ENGAGE_USERNAME and ENGAGE_PASSWORD (or ENGAGE_PASSWORD_FILE)."),
        (
            {"ENGAGE_PASSWORD": "x"},
            "ENGAGE_USERNAME or ENGAGE_PASSWORD is set, but ENGAGE_SECURITY is PLAINTEXT and would not use it; allowed with them: SASL_SSL.",
        ),
        (
            {"ENGAGE_CA_FILE": __file__},
            "ENGAGE_CA_FILE or ENGAGE_CERT_FILE is set, but ENGAGE_SECURITY is PLAINTEXT, without TLS; allowed with them: SSL, SASL_SSL.",
        ),
        ({"ENGAGE_SECURITY": "SSL", "ENGAGE_CERT_FILE": __file__}, "ENGAGE_CERT_FILE and ENGAGE_KEY_FILE are needed together; one of them is missing."),
    ],
)
def test_what_cannot_be_used_is_refused_in_a_sentence(environ: dict[str, str], sentence: str) -> None:
    with pytest.raises(SettingsError) as refused:
        Settings.from_env(environ)
    assert str(refused.value) == sentence


def test_files_that_are_no_certificates_are_refused() -> None:
    with pytest.raises(SettingsError, match=r"ENGAGE_CA_FILE is .*; allowed: a file of PEM certificates"):
        Settings(security="SSL", ca_file=__file__).ssl_context()
    with pytest.raises(SettingsError, match=r"ENGAGE_CERT_FILE is .*; allowed: a PEM certificate and its private key"):
        Settings(security="SSL", cert_file=__file__, key_file=__file__).ssl_context()


def test_secrets_are_never_shown(tmp_path: Path) -> None:
    (tmp_path / "secret").write_text("canary-4711\n")
    settings = Settings.from_env({"ENGAGE_SECURITY": "SASL_SSL", "ENGAGE_USERNAME": "worker", "ENGAGE_PASSWORD_FILE": str(tmp_path / "secret")})
    assert settings.password == "canary-4711"
    assert settings.client_kwargs()["sasl_plain_password"] == "canary-4711"
    assert "canary" not in settings.describe() + repr(settings) + str(settings)
    assert "set, not shown" in settings.describe()
    assert len(settings.describe().splitlines()) == len(SETTINGS)


def test_clients_get_what_they_need_and_no_more() -> None:
    assert Settings().client_kwargs() == {"bootstrap_servers": ["127.0.0.1:9092"], "security_protocol": "PLAINTEXT", "ssl_context": None}
    assert Settings().faust_credentials() is None
    encrypted = Settings(security="SSL").client_kwargs()["ssl_context"]
    assert encrypted.verify_mode is ssl.CERT_REQUIRED
    assert encrypted.check_hostname
    assert encrypted.minimum_version == ssl.TLSVersion.TLSv1_2


@pytest.mark.parametrize("security", ["SSL", "SASL_PLAINTEXT", "SASL_SSL"])
def test_faust_is_told_the_same(security: str) -> None:
    from faust.transport.drivers.aiokafka import credentials_to_aiokafka_auth

    sasl = {"username": "worker", "password": "p"} if security.startswith("SASL") else {}
    settings = replace(Settings(), security=security, **sasl)
    told: dict[str, Any] = dict(credentials_to_aiokafka_auth(settings.faust_credentials()))
    ours = settings.client_kwargs()
    del ours["bootstrap_servers"]
    assert bool(told.pop("ssl_context")) == bool(ours.pop("ssl_context")) == (security != "SASL_PLAINTEXT")
    assert told == ours
