#!/usr/bin/env python3
"""A local Apache Kafka: one KRaft node on loopback, for development, tests and measurements. Needs Java 17 and, the first time, Maven.

    python3 deploy/kafka/kafka.py start      start and wait until it answers; prints the address
    python3 deploy/kafka/kafka.py stop       stop in good order
    python3 deploy/kafka/kafka.py kill       SIGKILL, as fault tests need it; the data stays, `start` goes on with it
    python3 deploy/kafka/kafka.py status     is it running, where (--json for programs); exit code 1 when it is not
    python3 deploy/kafka/kafka.py wait       wait until it answers
    python3 deploy/kafka/kafka.py clean      kill it and remove its data
    python3 deploy/kafka/kafka.py tool CLASS ARGS…   one of Kafka's own programs, e.g. kafka.tools.DumpLogSegments

Options are environment variables too (PORT, DATA, HEAP, EXTRA, SECURE, USERS), so `make kafka PORT=9093 HEAP=1g` works.
Several nodes at once: give each its own PORT, or its own DATA with PORT=0.
Only the standard library is used, so this runs before anything is installed.
"""

from __future__ import annotations

import argparse
import contextlib
import ctypes
import json
import os
import re
import secrets
import shutil
import signal
import socket
import ssl
import string
import struct
import subprocess
import sys
import time
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

HERE = Path(__file__).resolve().parent
ROOT = HERE.parent.parent
HOME = ROOT / ".kafka"
JARS = HOME / "jars"
LOOPBACK = "127.0.0.1"
DEFAULT_PORT = 9092
STARTED = "Kafka Server started"
ADMIN = "admin"


class KafkaError(Exception):
    """Something the person at the keyboard can put right; the text says how."""


@dataclass
class Kafka:
    """One node. `data` holds everything it writes; `port` 0 takes any free port and keeps it for later starts on the same data."""

    data: Path
    port: int | None = None
    heap: str = "512m"
    extra: Mapping[str, str] = field(default_factory=dict)
    secure: bool = False
    users: Mapping[str, str] = field(default_factory=dict)
    dies_with_me: bool = False  # the broker is killed when the process that started it ends, however it ends

    def __post_init__(self) -> None:
        self.data = Path(self.data).absolute()
        self._child: subprocess.Popen[bytes] | None = None

    # -- what is there ------------------------------------------------------------------------------------------------------------------

    @property
    def address(self) -> str:
        return f"{LOOPBACK}:{self._stored().get('port', self.port or DEFAULT_PORT)}"

    @property
    def ca_file(self) -> Path:
        return self.data / "secure" / "ca.pem"

    @property
    def log_file(self) -> Path:
        return self.data / "server.log"

    def password(self, user: str) -> str:
        stored: str = self._stored()["users"][user]
        return stored

    def pid(self) -> int | None:
        """The process id of the running broker of this data directory; None when it does not run."""
        try:
            pid = int((self.data / "pid").read_text())
        except (FileNotFoundError, ValueError):
            return None
        if self._child is not None and self._child.pid == pid:  # poll: a dead child must be reaped, else its id lives on
            return pid if self._child.poll() is None else None
        return pid if str(self._config_file) in _command_line(pid) else None

    @property
    def _config_file(self) -> Path:
        return self.data / "server.properties"

    def _stored(self) -> dict[str, Any]:
        try:
            stored: dict[str, Any] = json.loads((self.data / "node.json").read_text())
        except FileNotFoundError:
            return {}
        return stored

    # -- start --------------------------------------------------------------------------------------------------------------------------

    def start(self, timeout: float = 60) -> str:
        """Start the node (again, with the data it has) and wait until it answers. Returns its address."""
        if (pid := self.pid()) is not None:
            raise KafkaError(f"Kafka already runs on {self.address} (process {pid}, data {_short(self.data)}). Stop it first, or give another PORT or DATA.")
        java = find_java()
        fetch_jars()
        self.data.mkdir(parents=True, exist_ok=True)
        fixed: int | None = self.port or self._stored().get("port")
        for _ in range(3):
            port = fixed or free_port()
            if not port_is_free(port):
                raise KafkaError(f"Port {port} is in use by another program. Give another one, for instance PORT={port + 1}.")
            self._prepare(java, port, free_port())
            self._launch(java)
            try:
                self.wait(timeout)
            except _PortTakenError:
                continue
            return self.address
        raise KafkaError(f"Kafka could not get its ports; see {_short(self.log_file)}.")

    def _prepare(self, java: str, port: int, controller_port: int) -> None:
        formatted = (self.data / "log" / "meta.properties").exists()
        stored = self._stored()
        users: dict[str, str] = stored.get("users") or {ADMIN: secrets.token_urlsafe(18), **self.users}
        if formatted and bool(stored.get("secure")) != self.secure:
            raise KafkaError(f"The data in {_short(self.data)} belongs to a node with other security. `clean` it first, or give another DATA.")
        values = {"data": str(self.data), "port": str(port), "controller_port": str(controller_port), "admin_password": users[ADMIN]}
        parts = [HERE / "server.properties", HERE / ("secure.properties" if self.secure else "plain.properties")]
        text = "".join(string.Template(part.read_text()).substitute(values) for part in parts)
        for name, value in self.extra.items():
            text = re.sub(rf"(?m)^{re.escape(name)}=.*\n", "", text) + f"{name}={value}\n"
        _write_private(self._config_file, text)
        node = {"port": port, "secure": self.secure}
        _write_private(self.data / "node.json", json.dumps({**node, "users": users} if self.secure else node))
        if self.secure and not self.ca_file.exists():
            make_certificates(self.data / "secure")
        if not formatted:
            self._format(java, users)

    def _format(self, java: str, users: Mapping[str, str]) -> None:
        """What `kafka-storage format` writes is the same for every plain node, so it is made once and copied."""
        template = HOME / f"formatted-{kafka_version()}"
        if not self.secure and template.exists():
            shutil.copytree(template, self.data / "log")
            return
        scram = [f"--add-scram=SCRAM-SHA-512=[name={name},password={password}]" for name, password in users.items()] if self.secure else []
        command = java_command(java, "128m", ["kafka.tools.StorageTool", "format", "-t", "engagementmonitor00000", "-c", str(self._config_file), *scram])
        done = subprocess.run(command, capture_output=True, text=True, check=False)
        if done.returncode:
            raise KafkaError(f"Kafka could not prepare {_short(self.data)}:\n{(done.stdout + done.stderr).strip()}")
        if not self.secure:
            shutil.copytree(self.data / "log", mine := HOME / f".formatted-{os.getpid()}")
            try:
                mine.rename(template)
            except OSError:  # two nodes at once: the other one was first
                shutil.rmtree(mine)

    def _launch(self, java: str) -> None:
        command = java_command(java, self.heap, ["kafka.Kafka", str(self._config_file)])
        with self.log_file.open("wb") as log:
            self._child = subprocess.Popen(
                command,
                stdin=subprocess.DEVNULL,
                stdout=log,
                stderr=subprocess.STDOUT,
                start_new_session=True,
                preexec_fn=_killed_with_parent() if self.dies_with_me else None,
            )
        (self.data / "pid").write_text(str(self._child.pid))

    def wait(self, timeout: float = 60) -> None:
        """Until the broker answers a request."""
        deadline = time.monotonic() + timeout
        while not (STARTED in self._log() and answers(self.address, self.ca_file if self.secure else None)):
            if self.pid() is None:
                log = self._log()
                if "Address already in use" in log:
                    raise _PortTakenError(f"A port was taken by another program meanwhile; see {_short(self.log_file)}.")
                raise KafkaError(f"Kafka does not run (data {_short(self.data)}). Last lines of {_short(self.log_file)}:\n{_tail(log)}")
            if time.monotonic() > deadline:
                raise KafkaError(f"Kafka did not answer on {self.address} within {timeout:.0f} s. Last lines of {_short(self.log_file)}:\n{_tail(self._log())}")
            time.sleep(0.05)

    def _log(self) -> str:
        with contextlib.suppress(FileNotFoundError):
            return self.log_file.read_text(errors="replace")
        return ""

    # -- end ----------------------------------------------------------------------------------------------------------------------------

    def stop(self, timeout: float = 30) -> bool:
        """SIGTERM, and SIGKILL when that takes longer than `timeout`. False when nothing ran."""
        return self._end(signal.SIGTERM, timeout)

    def kill(self) -> bool:
        """SIGKILL, as a power cut would. The data stays."""
        return self._end(signal.SIGKILL, 10)

    def _end(self, sig: signal.Signals, timeout: float) -> bool:
        pid = self.pid()
        if pid is None:
            return False
        os.kill(pid, sig)
        os.kill(pid, signal.SIGCONT)  # a stopped process does not end
        deadline = time.monotonic() + timeout
        while self.pid() is not None:
            if time.monotonic() > deadline:
                os.kill(pid, signal.SIGKILL)
                deadline += timeout
            time.sleep(0.02)
        (self.data / "pid").unlink(missing_ok=True)
        return True

    def clean(self) -> None:
        """Kill it and remove the data directory, if it is one of ours."""
        self.kill()
        if self.data.exists():
            if not (self.data / "node.json").exists() and any(self.data.iterdir()):
                raise KafkaError(f"{_short(self.data)} was not made by this program; nothing removed.")
            shutil.rmtree(self.data)


class _PortTakenError(KafkaError):
    pass


# -- prerequisites ----------------------------------------------------------------------------------------------------------------------


def find_java() -> str:
    home = os.environ.get("JAVA_HOME")
    java = str(Path(home) / "bin" / "java") if home else shutil.which("java")
    if home and not Path(str(java)).exists():
        raise KafkaError(f"JAVA_HOME is {home}, but there is no bin/java in it. Let it name a Java 17 or newer, or unset it.")
    if java is None:
        raise KafkaError(
            "Java is missing. Install Java 17 or newer (Debian and Ubuntu: apt-get install openjdk-17-jre-headless; macOS: brew install openjdk@17)."
        )
    return java


def check_java(java: str) -> None:
    """Kafka 4 needs Java 17. Asked only once, before the jars are fetched: it costs a third of a second."""
    text = subprocess.run([java, "-version"], capture_output=True, text=True, check=False).stderr
    found = re.search(r'version "(\d+)', text)
    if found is None or int(found[1]) < 17:
        raise KafkaError(f"Kafka 4 needs Java 17 or newer; {java} says: {text.strip().splitlines()[0] if text.strip() else 'nothing'}.")


def fetch_jars() -> None:
    """Kafka's jars into .kafka/jars, by Maven, once per version in pom.xml."""
    stamp = JARS / f"kafka-{kafka_version()}"
    if stamp.exists():
        return
    check_java(find_java())
    maven = shutil.which("mvn")
    if maven is None:
        raise KafkaError("Maven is missing; it is needed once, to fetch Kafka's jars (Debian and Ubuntu: apt-get install maven; macOS: brew install maven).")
    print("Fetching Apache Kafka's jars with Maven, once (54 MB) ...", file=sys.stderr, flush=True)
    fresh = HOME / f".jars-{os.getpid()}"
    goal = "org.apache.maven.plugins:maven-dependency-plugin:3.8.1:copy-dependencies"
    done = subprocess.run(
        [maven, "-q", "-B", "-f", str(HERE / "pom.xml"), goal, "-DincludeScope=runtime", f"-DoutputDirectory={fresh}"],
        capture_output=True,
        text=True,
        check=False,
    )
    if done.returncode:
        shutil.rmtree(fresh, ignore_errors=True)
        raise KafkaError(f"Maven could not fetch Kafka's jars:\n{_tail(done.stdout + done.stderr)}")
    (fresh / stamp.name).touch()
    shutil.rmtree(JARS, ignore_errors=True)
    fresh.rename(JARS)


def kafka_version() -> str:
    found = re.search(r"<kafka.version>(.+?)</kafka.version>", (HERE / "pom.xml").read_text())
    assert found
    return found[1]


def java_command(java: str, heap: str, arguments: Sequence[str]) -> list[str]:
    options = [f"-Xmx{heap}", "-XX:+UseG1GC", "-XX:MaxGCPauseMillis=20", "-Djava.awt.headless=true", f"-Dlog4j2.configurationFile={HERE / 'log4j2.properties'}"]
    return [java, *options, "-cp", f"{JARS}/*", *arguments]


def make_certificates(directory: Path) -> None:
    """A certificate authority and the broker's certificate for 127.0.0.1 and localhost, as PEM files; Kafka reads them without a keystore."""
    openssl = shutil.which("openssl")
    if openssl is None:
        raise KafkaError(
            "openssl is missing; it makes the certificates of the secure node (Debian and Ubuntu: apt-get install openssl; macOS: brew install openssl)."
        )
    directory.mkdir(parents=True, exist_ok=True)

    def run(command: str) -> None:
        done = subprocess.run([openssl, *command.split()], cwd=directory, capture_output=True, text=True, check=False)
        if done.returncode:
            raise KafkaError(f"openssl {command.partition(' ')[0]} failed:\n{done.stderr.strip()}")

    (directory / "san.cnf").write_text(f"subjectAltName=IP:{LOOPBACK},DNS:localhost\nextendedKeyUsage=serverAuth,clientAuth\n")
    old = os.umask(0o077)
    try:
        authority = "-addext basicConstraints=critical,CA:TRUE -addext keyUsage=critical,keyCertSign,cRLSign"
        run(f"req -x509 -newkey rsa:2048 -nodes -days 3650 -subj /CN=engagement-local-ca {authority} -keyout ca.key -out ca.pem")
        run("req -newkey rsa:2048 -nodes -subj /CN=engagement-broker -keyout broker.key -out broker.csr")
        run("x509 -req -in broker.csr -CA ca.pem -CAkey ca.key -CAcreateserial -days 3650 -extfile san.cnf -out broker.crt")
        (directory / "broker.pem").write_text((directory / "broker.key").read_text() + (directory / "broker.crt").read_text())
    finally:
        os.umask(old)


# -- small things -----------------------------------------------------------------------------------------------------------------------


def free_port() -> int:
    with socket.create_server((LOOPBACK, 0)) as server:
        port: int = server.getsockname()[1]
        return port


def port_is_free(port: int) -> bool:
    with contextlib.suppress(OSError), socket.create_server((LOOPBACK, port)):
        return True
    return False


def answers(address: str, ca_file: Path | None = None, timeout: float = 2) -> bool:
    """Does a broker answer there? Asks for the API versions, which every listener answers before any login."""
    host, port = address.rsplit(":", 1)
    request = struct.pack(">hhih6s", 18, 0, 1, 6, b"engage")
    with contextlib.suppress(OSError), contextlib.ExitStack() as stack:
        connection = stack.enter_context(socket.create_connection((host, int(port)), timeout))
        if ca_file is not None:
            connection = stack.enter_context(ssl.create_default_context(cafile=ca_file).wrap_socket(connection, server_hostname=host))
        connection.sendall(struct.pack(">i", len(request)) + request)
        head = b""
        while len(head) < 10 and (more := connection.recv(10 - len(head))):
            head += more
        return len(head) == 10 and struct.unpack(">iih", head)[1:] == (1, 0)
    return False


def _killed_with_parent() -> Callable[[], None] | None:
    """For Popen's preexec_fn: Linux sends the child SIGKILL when the thread that started it ends. Elsewhere there is no such thing."""
    if not sys.platform.startswith("linux"):
        return None
    prctl = ctypes.CDLL(None, use_errno=True).prctl
    return lambda: None if prctl(1, signal.SIGKILL, 0, 0, 0) == 0 else os._exit(1)


def _command_line(pid: int) -> str:
    if Path("/proc/self").exists():
        try:
            return Path(f"/proc/{pid}/cmdline").read_bytes().replace(b"\0", b" ").decode(errors="replace")
        except OSError:
            return ""
    return subprocess.run(["ps", "-ww", "-o", "args=", "-p", str(pid)], capture_output=True, text=True, check=False).stdout


def _write_private(path: Path, text: str) -> None:
    path.unlink(missing_ok=True)
    with os.fdopen(os.open(path, os.O_WRONLY | os.O_CREAT | os.O_EXCL, 0o600), "w") as file:
        file.write(text)


def _short(path: Path) -> str:
    with contextlib.suppress(ValueError):
        return str(path.relative_to(Path.cwd()))
    return str(path)


def _tail(text: str, lines: int = 15) -> str:
    """The last lines, without the frames of Java stack traces."""
    return "\n".join([line for line in text.strip().splitlines() if not line.startswith("\tat ")][-lines:]) or "(nothing)"


# -- command line -----------------------------------------------------------------------------------------------------------------------

COMMANDS = ("start", "stop", "kill", "status", "wait", "clean")


def main(argv: Sequence[str] | None = None, environ: Mapping[str, str] = os.environ) -> int:
    words = list(sys.argv[1:] if argv is None else argv)
    try:
        if words[:1] == ["tool"]:
            fetch_jars()
            return subprocess.run(java_command(find_java(), "256m", words[1:]), check=False).returncode
        options = _parser(environ).parse_args(words)
        return _run(options.command, _node(options, environ), options)
    except KafkaError as error:
        print(error, file=sys.stderr)
        return 2


def _parser(environ: Mapping[str, str]) -> argparse.ArgumentParser:
    parser = argparse.ArgumentParser(prog="kafka.py", description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("command", choices=COMMANDS)
    parser.add_argument("--port", type=int, default=environ.get("PORT") or None, help="port on loopback; 0 = any free one (default 9092)")
    parser.add_argument("--data", type=Path, default=environ.get("DATA") or None, help="everything this node writes (default .kafka/PORT)")
    parser.add_argument("--heap", default=environ.get("HEAP") or "512m", help="Java heap (default 512m)")
    parser.add_argument("--extra", action="append", metavar="NAME=VALUE", help="a line of server.properties; repeatable (EXTRA: separated by spaces)")
    parser.add_argument("--secure", action="store_true", default=bool(environ.get("SECURE")), help="TLS, SCRAM-SHA-512 and access lists")
    parser.add_argument("--user", action="append", metavar="NAME:PASSWORD", help="a user of a secure node; repeatable (USERS: separated by spaces)")
    parser.add_argument("--timeout", type=float, default=60, help="seconds to wait for an answer (default 60)")
    parser.add_argument("--json", action="store_true", help="status as JSON")
    return parser


def _node(options: argparse.Namespace, environ: Mapping[str, str]) -> Kafka:
    if options.port == 0 and options.data is None:
        raise KafkaError("With PORT=0 (any free port) DATA is needed, to find the node again.")
    port = options.port if options.port is not None or options.data else DEFAULT_PORT
    extra = _pairs(options.extra or environ.get("EXTRA", "").split(), "=", "EXTRA: a line of server.properties is NAME=VALUE")
    users = _pairs(options.user or environ.get("USERS", "").split(), ":", "USERS: a user is NAME:PASSWORD")
    return Kafka(options.data or HOME / str(port), port, options.heap, extra, options.secure, users)


def _pairs(texts: Sequence[str], separator: str, rule: str) -> dict[str, str]:
    if bad := [text for text in texts if separator not in text]:
        raise KafkaError(f"{rule}, not {bad[0]!r}.")
    return dict(text.split(separator, 1) for text in texts)


def _run(command: str, node: Kafka, options: argparse.Namespace) -> int:
    where = _short(node.data)
    if command == "start":
        begin = time.monotonic()
        address = node.start(options.timeout)
        print(f"Kafka {kafka_version()} answers on {address} (process {node.pid()}, data {where}, {time.monotonic() - begin:.1f} s).")
        if node.secure:
            print(f"TLS with the authority {_short(node.ca_file)}; SCRAM-SHA-512; user {ADMIN}, its password and the others' are in {where}/node.json.")
    elif command == "wait":
        node.wait(options.timeout)
        print(f"Kafka answers on {node.address}.")
    elif command == "status":
        pid = node.pid()
        if options.json:
            print(json.dumps({"running": pid is not None, "process": pid, "address": node.address, "data": str(node.data)}))
        else:
            print(f"Kafka runs on {node.address} (process {pid}, data {where})." if pid else f"Kafka does not run (data {where}).")
        return 0 if pid else 1
    elif command == "clean":
        node.clean()
        print(f"{where} is gone.")
    else:
        ended = node.stop() if command == "stop" else node.kill()
        print(f"Kafka {'stopped' if command == 'stop' else 'was killed'} (data {where} stays)." if ended else f"Kafka did not run (data {where}).")
    return 0


if __name__ == "__main__":
    sys.exit(main())
