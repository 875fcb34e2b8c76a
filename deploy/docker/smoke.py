#!/usr/bin/env python3
"""docker-compose.yml for real: build, start, feed, look, tear down. Without a container engine it says "skipped" and ends with 0.

Images that can be pulled are pulled. Where no registry is reachable, stand-ins take their place, under names of their own: a Debian made by
debootstrap for the base of our image (which is then built from the real Dockerfile), and one with Debian's Prometheus and Alertmanager and
the jars of deploy/kafka, whose Kafka is set up by the very class that the official image uses. Users, read-only roots, mounts, settings,
health checks and order of start are those of docker-compose.yml. Grafana has no stand-in and is left out then.
"""

import argparse
import contextlib
import json
import os
import shutil
import subprocess
import sys
import tempfile
import time
import urllib.parse
import urllib.request
from collections.abc import Iterator, Sequence
from pathlib import Path
from typing import Any

import yaml

from deploy.kafka import kafka
from simulator.shop import Shop

ROOT = Path(__file__).resolve().parents[2]
PROJECT = "engagement-smoke"
BASE, SERVICES = f"{PROJECT}/python:stand-in", f"{PROJECT}/services:stand-in"
DEBIAN = ("debootstrap", "--variant=minbase", "--include=python3,python3-venv,ca-certificates", "bookworm")
CERTIFICATES = Path(os.environ.get("SSL_CERT_FILE", "/etc/ssl/certs/ca-certificates.crt"))
COUNT, WORKERS = 3_000, 2
READY_SECONDS = 180.0

SERVICES_DOCKERFILE = f"""\
FROM {BASE}
RUN apt-get update -qq && DEBIAN_FRONTEND=noninteractive apt-get install -y -qq --no-install-recommends \\
    openjdk-17-jre-headless prometheus prometheus-alertmanager wget
COPY jars /opt/kafka/libs
COPY log4j2.properties /etc/kafka/log4j2.properties
COPY run /etc/kafka/docker/run
RUN mkdir -p /opt/kafka/config /opt/kafka/logs /var/lib/kafka/data /prometheus /alertmanager /mnt/shared/config \\
 && chown 1000:1000 /var/lib/kafka/data && chown 65534:65534 /prometheus /alertmanager
"""
RUN_KAFKA = """\
#!/bin/bash
set -e
cd /tmp
export CLASSPATH='/opt/kafka/libs/*'
java="java -Xmx512m -Dlog4j2.configurationFile=/etc/kafka/log4j2.properties"
said=$($java kafka.docker.KafkaDockerWrapper setup --default-configs-dir /etc/kafka/docker \\
  --mounted-configs-dir /mnt/shared/config --final-configs-dir /opt/kafka/config 2>&1) || grep -i "already formatted" <<<"$said" || { echo "$said"; exit 1; }
exec $java kafka.Kafka /opt/kafka/config/server.properties
"""
ENTRYPOINTS = {"kafka": ["/bin/bash", "/etc/kafka/docker/run"], "prometheus": ["/usr/bin/prometheus"], "alertmanager": ["/usr/bin/prometheus-alertmanager"]}


class SkippedError(Exception):
    """What is missing here."""


def sh(*command: str, **options: Any) -> str:
    """Output of a command; a failure raises with its last lines."""
    done = subprocess.run(command, capture_output=True, text=True, check=False, **options)
    if done.returncode:
        raise RuntimeError(f"{' '.join(command[:6])} ended with {done.returncode}:\n" + "\n".join((done.stdout + done.stderr).splitlines()[-40:]))
    return str(done.stdout)


def say(text: str) -> None:
    print(f"{time.strftime('%H:%M:%S')} {text}", flush=True)


@contextlib.contextmanager
def engine() -> Iterator[None]:
    """A container engine that answers: the one that runs, or one of our own until the end."""
    if shutil.which("docker") is None:
        raise SkippedError("there is no docker here")
    if subprocess.run(["docker", "info"], capture_output=True, check=False).returncode == 0:
        yield
        return
    if shutil.which("dockerd") is None or os.geteuid() != 0:
        raise SkippedError("no container engine answers, and none can be started without dockerd and root")
    with tempfile.TemporaryFile() as log:
        daemon = subprocess.Popen(["dockerd"], stdout=log, stderr=log)
        try:
            for _ in range(60):
                if subprocess.run(["docker", "info"], capture_output=True, check=False).returncode == 0:
                    break
                if daemon.poll() is not None:
                    raise SkippedError("dockerd does not start here")
                time.sleep(0.5)
            say("started a container engine")
            yield
        finally:
            daemon.terminate()
            daemon.wait(30)


def composer() -> list[str]:
    for command in (["docker", "compose"], ["docker-compose"]):
        if shutil.which(command[0]) and subprocess.run([*command, "version"], capture_output=True, check=False).returncode == 0:
            return command
    raise SkippedError("neither `docker compose` nor docker-compose is here")


def is_here(image: str) -> bool:
    return subprocess.run(["docker", "image", "inspect", image], capture_output=True, check=False).returncode == 0


def can_pull(images: Sequence[str]) -> bool:
    """Whether every image is here or can be fetched."""
    for image in images:
        if is_here(image):
            continue
        try:
            pulled = subprocess.run(["docker", "pull", "-q", image], capture_output=True, check=False, timeout=300).returncode == 0
        except subprocess.TimeoutExpired:
            pulled = False
        if not pulled:
            say(f"{image} cannot be pulled; stand-ins are built")
            return False
    return True


def build_stand_ins(directory: Path) -> None:
    """The two images of the module's docstring, from Debian packages and Maven's jars."""
    if shutil.which("debootstrap") is None or os.geteuid() != 0:
        raise SkippedError("no image can be pulled, and stand-ins need debootstrap and root")
    if not is_here(BASE):
        root = directory / "debian"
        sh(*DEBIAN, str(root))
        # pip and apt inside must trust whom this machine trusts.
        shutil.copy(CERTIFICATES, root / "etc/ssl/certs/ca-certificates.crt")
        with subprocess.Popen(["tar", "-C", str(root), "-c", "."], stdout=subprocess.PIPE) as tar:
            sh("docker", "import", "-c", "ENV PIP_CERT=/etc/ssl/certs/ca-certificates.crt", "-", BASE, stdin=tar.stdout)
        say("built a base image from Debian packages")
    context = directory / "services"
    context.mkdir()
    kafka.fetch_jars()
    shutil.copytree(kafka.JARS, context / "jars")
    shutil.copy(ROOT / "deploy/kafka/log4j2.properties", context)
    (context / "run").write_text(RUN_KAFKA)
    (context / "Dockerfile").write_text(SERVICES_DOCKERFILE)
    sh("docker", "build", "-q", "-t", SERVICES, str(context), env=os.environ | {"DOCKER_BUILDKIT": "0"})
    say("built an image with Java, Kafka's jars, Prometheus and Alertmanager")


def adapted(compose: Any, stand_ins: bool) -> Any:
    """The compose file for this run: free ports, our image under a name of its own, stand-ins where nothing can be pulled."""
    del compose["name"]  # given on the command line; docker-compose 1.29 refuses it here
    for name, service in compose["services"].items():
        if "ports" in service:
            service["ports"] = ["127.0.0.1::" + port.rpartition(":")[2] for port in service["ports"]]
        if "build" in service:
            service["image"] = f"{PROJECT}/engage:smoke"
            service["build"] = {"context": str(ROOT), "args": {"PYTHON": BASE}} if stand_ins else str(ROOT)
        elif name in ENTRYPOINTS and stand_ins:
            service |= {"image": SERVICES, "entrypoint": ENTRYPOINTS[name]}
        service["volumes"] = [mount.replace("./", f"{ROOT}/", 1) if mount.startswith("./") else mount for mount in service.get("volumes", ())]
    if stand_ins:
        del compose["services"]["grafana"]
    return compose


class Stack:
    """The running containers."""

    def __init__(self, command: list[str], file: Path) -> None:
        self.command = [*command, "-p", PROJECT, "-f", str(file)]

    def __call__(self, *arguments: str, **options: Any) -> str:
        return sh(*self.command, *arguments, env=os.environ | {"DOCKER_BUILDKIT": "0", "COMPOSE_DOCKER_CLI_BUILD": "0"}, **options)

    def containers(self) -> list[Any]:
        ids = self("ps", "-q").split()
        return list(json.loads(sh("docker", "inspect", *ids))) if ids else []

    def wait(self, expected: int) -> None:
        """Until every container with a health check is healthy."""
        deadline = time.monotonic() + READY_SECONDS
        while True:
            states = {one["Name"].lstrip("/"): one["State"] for one in self.containers()}
            health = {name: state["Health"]["Status"] for name, state in states.items() if "Health" in state}
            if len(health) == expected and set(health.values()) == {"healthy"}:
                return
            if time.monotonic() > deadline:
                raise RuntimeError(f"not healthy after {READY_SECONDS:.0f} s: {health}")
            time.sleep(1)

    def get(self, service: str, port: int, path: str) -> Any:
        address = self("port", service, str(port)).strip()
        with urllib.request.urlopen(f"http://{address}{path}", timeout=10) as response:
            return json.loads(response.read() or b"null")

    def value(self, query: str) -> float | None:
        """What Prometheus says."""
        result = self.get("prometheus", 9090, "/api/v1/query?" + urllib.parse.urlencode({"query": query}))["data"]["result"]
        return float(result[0]["value"][1]) if result else None

    def until(self, query: str, expected: float, seconds: float = 90.0) -> None:
        deadline = time.monotonic() + seconds
        while (value := self.value(query)) != expected:
            if time.monotonic() > deadline:
                raise RuntimeError(f"{query} is {value}, expected {expected}")
            time.sleep(2)
        say(f"Prometheus: {query} = {expected:g}")


def check(stack: Stack, services: dict[str, Any]) -> None:
    """What must hold of the running stack."""
    for one in stack.containers():
        name = one["Name"].lstrip("/")
        service = services[one["Config"]["Labels"]["com.docker.compose.service"]]
        host = one["HostConfig"]
        assert one["Config"]["User"] == service["user"], name
        assert host["ReadonlyRootfs"], name
        assert host["CapDrop"] == ["ALL"], name
        assert host["SecurityOpt"] == ["no-new-privileges:true"], name
        assert host["Memory"] > 0, name
    say("every container runs as its user, on a read-only root, without capabilities, with bounded memory")
    stack.until('sum(up{job="engage-worker"})', WORKERS)
    stack.until("sum(engagement_ready)", WORKERS)
    stack.until("sum(engagement_owned_partitions)", 8)
    now = int(time.time() * 1000)
    lines = [sent.value for sent in Shop(1, now, history=3_600_000).take(now, COUNT) if sent.value.isascii() and len(sent.value.splitlines()) == 1]
    stack("exec", "-T", "worker", "engage", "replay", "-", input=b"\n".join(lines).decode() + "\n")
    say(f"{len(lines)} events sent through Kafka")
    stack.until("sum(engagement_events_total)", len(lines))
    stack.until("sum(abs(engagement_unaccounted_events))", 0)
    deadline = time.monotonic() + 60
    while "Watchdog" not in {alert["labels"]["alertname"] for alert in stack.get("alertmanager", 9093, "/api/v2/alerts")}:
        assert time.monotonic() < deadline, "the watchdog did not reach Alertmanager"
        time.sleep(2)
    say("Alertmanager has the watchdog")
    before = stack.value('max(process_start_time_seconds{job="engage-worker"})')
    stack("restart", "-t", "15", "kafka", "worker")
    stack.until(f'count(process_start_time_seconds{{job="engage-worker"}} > {before})', WORKERS)  # none of what follows is from before
    stack.until("sum(engagement_owned_partitions)", 8)
    stack.until("sum(engagement_events_total)", len(lines))
    say("after a restart of Kafka and the workers every count is as it was")
    stack("--profile", "demo", "up", "-d", "--no-recreate", "--scale", f"worker={WORKERS}", "simulate")
    stack.until(f"sum(engagement_events_total) > bool {len(lines) + 10_000}", 1)
    stack.until("sum(abs(engagement_unaccounted_events))", 0)
    series = stack.value('max(scrape_samples_scraped{job="engage-worker"})')
    say(f"the made-up shops send; a worker exports {series:g} series")
    codes = {one["State"]["ExitCode"] for one in stack.containers() if one["State"]["Status"] == "exited"}
    assert codes <= {0}, codes


def main() -> int:
    argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter).parse_args()
    try:
        with engine(), tempfile.TemporaryDirectory(prefix="engage-smoke-") as name:
            command, directory = composer(), Path(name)
            compose = yaml.safe_load((ROOT / "docker-compose.yml").read_text())
            base = next(line.partition("=")[2] for line in (ROOT / "Dockerfile").read_text().splitlines() if line.startswith("ARG PYTHON="))
            images = [base, *(service["image"] for service in compose["services"].values() if "build" not in service)]
            stand_ins = not can_pull(images)
            if stand_ins:
                build_stand_ins(directory)
            services = adapted(compose, stand_ins)["services"]
            file = directory / "docker-compose.yml"
            file.write_text(yaml.safe_dump(compose))
            stack = Stack(command, file)
            try:
                stack("build", "worker")
                say("built our image from the Dockerfile")
                long_lived = [name for name in services if not services[name].get("profiles") and name != "topics"]
                stack("up", "-d", "--scale", f"worker={WORKERS}")
                stack.wait(len(long_lived) + WORKERS - 1)
                say(f"healthy: {', '.join(long_lived)}")
                check(stack, services)
            except BaseException:
                print(stack("logs", "--tail", "40"))
                raise
            finally:
                stack("down", "-v", "--remove-orphans", "-t", "20")
                say("torn down")
    except SkippedError as missing:
        print(f"skipped: {missing}.")
        return 0
    print("ok" + (" (with stand-ins, without Grafana)" if stand_ins else ""))
    return 0


if __name__ == "__main__":
    sys.exit(main())
