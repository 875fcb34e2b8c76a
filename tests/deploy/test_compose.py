"""What docker-compose.yml and the Dockerfile promise: pinned, hardened, on loopback, and made of files that exist."""

import re
from pathlib import Path
from typing import Any

import pytest
import yaml

from agents.settings import SETTINGS, Settings
from collector.keys import add_key, create_key, load_keys
from simulator.sites import SITES_YAML
from streams.sites import load_sites

ROOT = Path(__file__).parents[2]
COMPOSE: dict[str, Any] = yaml.safe_load((ROOT / "docker-compose.yml").read_text())
SERVICES: dict[str, dict[str, Any]] = COMPOSE["services"]
DOCKERFILE = (ROOT / "Dockerfile").read_text()
ONE_SHOT = {"topics"}
SERVES_NOTHING = {"simulate"}
"""No server that could be asked: it ends when it fails."""

each_service = pytest.mark.parametrize("name", SERVICES)


def environment(service: dict[str, Any]) -> dict[str, str]:
    """As the container sees it, with the defaults of ${NAME:-default}."""
    return {name: re.sub(r"\$\{\w+:-([^}]*)\}", r"\1", str(value)) for name, value in service.get("environment", {}).items()}


@each_service
def test_images_are_pinned_to_a_version(name: str) -> None:
    tag = SERVICES[name]["image"].partition(":")[2]
    assert re.fullmatch(r"v?\d+\.\d+\.\d+", tag), f"{name}: {tag!r} is no exact version"


@each_service
def test_nothing_runs_as_root_or_writes_to_its_image(name: str) -> None:
    service = SERVICES[name]
    assert int(service["user"].partition(":")[0]) > 0
    assert service["read_only"] is True
    assert service["cap_drop"] == ["ALL"]
    assert service["security_opt"] == ["no-new-privileges:true"]
    assert "privileged" not in service
    assert "cap_add" not in service


@each_service
def test_what_one_service_takes_is_bounded(name: str) -> None:
    service = SERVICES[name]
    assert service["mem_limit"]
    assert service["cpus"]
    assert service["logging"]["options"]["max-size"]


@each_service
def test_ports_are_published_on_loopback_only(name: str) -> None:
    for port in SERVICES[name].get("ports", ()):
        assert re.fullmatch(r"127\.0\.0\.1:\d+:\d+", port)
    assert "network_mode" not in SERVICES[name]


@each_service
def test_every_service_says_whether_it_is_well(name: str) -> None:
    service = SERVICES[name]
    if name in ONE_SHOT | SERVES_NOTHING:
        assert service["healthcheck"] == {"disable": True}
    elif "build" in service:
        assert "healthcheck" not in service
        assert "HEALTHCHECK" in DOCKERFILE
    else:
        assert service["healthcheck"]["test"][0] == "CMD"
    assert service["restart"] == ("no" if name in ONE_SHOT else "unless-stopped")


@each_service
def test_dependencies_can_be_waited_for(name: str) -> None:
    for other, how in SERVICES[name].get("depends_on", {}).items():
        assert other in SERVICES
        assert how["condition"] == ("service_completed_successfully" if other in ONE_SHOT else "service_healthy")


@each_service
def test_mounts_exist_and_are_read_only(name: str) -> None:
    for mount in SERVICES[name].get("volumes", ()):
        source, _, target = mount.partition(":")
        if source.startswith("."):
            assert (ROOT / source).exists(), f"{name}: {source}"
            assert target.endswith(":ro"), f"{name}: {mount}"
        else:
            assert source in COMPOSE["volumes"]


def test_files_named_in_commands_and_settings_are_mounted() -> None:
    mounted = {"/etc/prometheus": "deploy/prometheus", "/etc/alertmanager": "deploy/alertmanager", "/var/lib/grafana-dashboards": "deploy/grafana/dashboards"}
    for service in SERVICES.values():
        texts = [*service.get("command", ()), *environment(service).values()]
        for text in texts:
            for target, source in mounted.items():
                if target in text:
                    assert (ROOT / (source + text.partition(target)[2])).exists(), text
    providers = yaml.safe_load((ROOT / "deploy/grafana/provisioning/dashboards/engagement.yml").read_text())["providers"]
    assert [provider["options"]["path"] for provider in providers] == ["/var/lib/grafana-dashboards"]


@pytest.mark.parametrize("name", ["topics", "worker", "collector", "simulate"])
def test_our_services_get_settings_they_accept(name: str) -> None:
    variables = environment(SERVICES[name])
    assert set(variables) <= {variable for setting in SETTINGS for variable in setting.variables}
    mounted = {target: source for source, _, target in (mount.removesuffix(":ro").partition(":") for mount in SERVICES[name].get("volumes", ()))}
    for variable in variables.keys() & {"ENGAGE_SITES", "ENGAGE_COLLECTOR_KEYS"}:
        variables[variable] = str(ROOT / mounted[variables[variable]])
    if "ENGAGE_COLLECTOR_SPOOL" in variables:
        assert mounted[str(Path(variables["ENGAGE_COLLECTOR_SPOOL"]).parent)] in COMPOSE["volumes"]
        assert "COPY --from=build --chown=10001:10001 /var/lib/engage /var/lib/engage" in DOCKERFILE
    settings = Settings.from_env(variables)
    assert settings.broker == "kafka:19092"
    assert settings.partitions == Settings.from_env(environment(SERVICES["topics"])).partitions


def test_the_keys_file_can_be_read_and_grown() -> None:
    text = (ROOT / "deploy/docker/keys.yml").read_text()
    key, _ = create_key("web", "write", "shop")
    assert load_keys(add_key(text, key)).all == (key,)


def test_the_sites_file_is_that_of_the_made_up_shops() -> None:
    mounted = load_sites((ROOT / "deploy/docker/sites.yml").read_text())
    assert mounted.named == load_sites(SITES_YAML).named


def test_kafka_is_the_version_that_the_tests_run_on() -> None:
    pom = (ROOT / "deploy/kafka/pom.xml").read_text()
    version = re.search(r"<kafka.version>(.+)</kafka.version>", pom)
    assert version is not None
    assert SERVICES["kafka"]["image"] == f"apache/kafka:{version[1]}"


def test_kafka_can_load_its_native_zstd() -> None:
    """A tmpfs is noexec by itself; then every compressed batch ends in an UnknownError."""
    (temporary,) = [mount for mount in SERVICES["kafka"]["tmpfs"] if mount.startswith("/tmp:")]
    assert "exec" in temporary.partition(":")[2].split(",")


def test_a_worker_can_be_scaled() -> None:
    worker = SERVICES["worker"]
    assert not {"ports", "container_name", "hostname"} & set(worker)
    assert "ENGAGE_INSTANCE_ID" not in worker["environment"]


def test_no_secret_is_in_the_files() -> None:
    for path in (ROOT / "docker-compose.yml", ROOT / "Dockerfile", *(ROOT / "deploy").rglob("*.yml")):
        assert not re.search(r"(?i)(password|secret|token|api_?key)\s*[:=]\s*[^\s$]", path.read_text()), path


def test_the_image_is_pinned_small_and_not_root() -> None:
    assert re.search(r"^ARG PYTHON=python:3\.12\.\d+-slim-bookworm$", DOCKERFILE, re.M)
    assert set(re.findall(r"^FROM (\S+)", DOCKERFILE, re.M)) == {"${PYTHON}"}
    assert "--require-hashes --only-binary :all: -r requirements.lock" in DOCKERFILE
    *_, last = DOCKERFILE.split("\nFROM ")
    assert int(re.search(r"^ARG USER_ID=(\d+)$", last, re.M)[1]) > 0  # type: ignore[index]
    assert re.search(r"^USER \$\{USER_ID\}", last, re.M)
    assert "RUN" not in last


def test_what_the_image_is_built_from_is_not_ignored() -> None:
    ignored = {line.strip() for line in (ROOT / ".dockerignore").read_text().splitlines() if line and not line.startswith("#")}
    packages = re.search(r"^packages = \[(.+)\]$", (ROOT / "pyproject.toml").read_text(), re.M)
    assert packages is not None
    needed = {"pyproject.toml", "README.md", "requirements.lock", *re.findall(r'"(\w+)"', packages[1])}
    assert not needed & ignored
    assert {".*", "*.env", "tests", "deploy"} <= ignored
