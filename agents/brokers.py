"""The embedded broker: Kafka's protocol on loopback without Java, for trying the product and for tests. Nothing is kept after it stops.

It is the mock cluster inside librdkafka (the library in the confluent-kafka wheel), in a process of its own. docs/brokers.md says what it cannot do.

`python -m agents.brokers [--partitions N] [TOPIC ...]` prints its address and runs until its standard input ends.
While it runs, a line `NAME PARTITIONS` on its standard input makes a topic, answered with `ok`; that is how `EmbeddedBroker` speaks to it.
"""

import argparse
import asyncio
import ctypes
import subprocess
import sys
from collections.abc import Iterable, Sequence
from pathlib import Path
from types import TracebackType
from typing import Any, Self

import msgspec

from agents.settings import Settings
from streams.topics import TOPICS

SESSION_TIMEOUT = 3.0
"""A member that joins again waits for the session timeout less one second, so a short one makes restarts quick."""
HEARTBEAT = 1.0


class BrokerError(RuntimeError):
    """The embedded broker did not start or broke; the text says what to do."""


class EmbeddedBroker:
    """A running embedded broker; a context manager, also an asynchronous one. It ends with the process that started it, however that ends."""

    def __init__(self, topics: Iterable[str] = (), partitions: int = 8) -> None:
        self.topics = tuple(topics)
        self.partitions = partitions
        self.address = ""
        self._child: subprocess.Popen[str] | None = None

    @classmethod
    def of(cls, settings: Settings) -> Self:
        """With all topics of the product, under these settings' prefix and with their partition count."""
        return cls([settings.topic(topic.name) for topic in TOPICS], settings.partitions)

    def settings(self, base: Settings, partitions: int | None = None) -> Settings:
        """`base`, pointed at this broker: no security, and times that suit it."""
        changes: dict[str, Any] = dict.fromkeys(("username", "password", "ca_file", "cert_file", "key_file", "instance_id"))
        changes |= {"broker": self.address, "security": "PLAINTEXT", "partitions": partitions or self.partitions, "replication": 1}
        return msgspec.structs.replace(base, **changes, session_timeout=SESSION_TIMEOUT, heartbeat=HEARTBEAT)

    def start(self) -> str:
        """Start it and return its address."""
        if self._child is not None:
            return self.address
        command = [sys.executable, "-m", "agents.brokers", "--partitions", str(self.partitions), *self.topics]
        # A session of its own: Ctrl-C ends the worker first, which still has to write. The pipe's end tells the child when we are gone.
        self._child = subprocess.Popen(
            command, stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True, start_new_session=True, cwd=Path(__file__).parent.parent
        )
        try:
            self.address = self._answer()
        except BrokerError:
            self.stop()
            raise
        return self.address

    def create(self, topic: str, partitions: int | None = None) -> None:
        """Make a topic. (One that is only named by a client gets 4 partitions.)"""
        if self._child is None or self._child.stdin is None:
            raise BrokerError("The embedded broker is not running.")
        try:
            self._child.stdin.write(f"{topic} {partitions or self.partitions}\n")
            self._child.stdin.flush()
        except BrokenPipeError:
            raise BrokerError(self._how_it_ended()) from None
        if (answer := self._answer()) != "ok":
            raise BrokerError(f"The embedded broker refused topic {topic!r}: {answer}.")

    def stop(self) -> None:
        """End it; everything in it is gone."""
        child, self._child = self._child, None
        if child is None or child.stdin is None or child.stdout is None:
            return
        try:
            child.stdin.close()
            child.wait(5)
        except (BrokenPipeError, subprocess.TimeoutExpired):
            child.kill()
            child.wait()
        finally:
            child.stdout.close()

    @property
    def running(self) -> bool:
        return self._child is not None and self._child.poll() is None

    def _answer(self) -> str:
        assert self._child is not None
        assert self._child.stdout is not None
        if not (line := self._child.stdout.readline()):
            raise BrokerError(self._how_it_ended())
        return line.strip()

    def _how_it_ended(self) -> str:
        assert self._child is not None
        return f"The embedded broker ended with status {self._child.wait()}; its own message is above."

    def __enter__(self) -> Self:
        self.start()
        return self

    def __exit__(self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None) -> None:
        self.stop()

    async def __aenter__(self) -> Self:
        await asyncio.to_thread(self.start)
        return self

    async def __aexit__(self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None) -> None:
        await asyncio.to_thread(self.stop)


# -- in the child -----------------------------------------------------------------------------------------------------------------------


class MockCluster:
    """librdkafka's mock cluster by its own functions (rdkafka_mock.h), because the wheel's Python names cannot set partition counts
    and would let the first consumer of every group wait for three seconds."""

    def __init__(self) -> None:
        self._library = library = _librdkafka()
        pointer, text, number = ctypes.c_void_p, ctypes.c_char_p, ctypes.c_int
        signatures: dict[str, tuple[Any, list[Any]]] = {
            "rd_kafka_conf_new": (pointer, []),
            "rd_kafka_conf_set": (number, [pointer, text, text, text, ctypes.c_size_t]),
            "rd_kafka_new": (pointer, [number, pointer, text, ctypes.c_size_t]),
            "rd_kafka_err2str": (text, [number]),
            "rd_kafka_mock_cluster_new": (pointer, [pointer, number]),
            "rd_kafka_mock_cluster_bootstraps": (text, [pointer]),
            "rd_kafka_mock_group_initial_rebalance_delay_ms": (None, [pointer, ctypes.c_int32]),
            "rd_kafka_mock_topic_create": (number, [pointer, text, number, number]),
        }
        for name, (result, arguments) in signatures.items():
            function = getattr(library, name)
            function.restype, function.argtypes = result, arguments
        why = ctypes.create_string_buffer(512)
        configuration = library.rd_kafka_conf_new()
        library.rd_kafka_conf_set(configuration, b"log_level", b"3", why, len(why))
        producer = 0
        if not (handle := library.rd_kafka_new(producer, configuration, why, len(why))):
            raise BrokerError(f"librdkafka: {why.value.decode(errors='replace')}.")
        brokers = 1
        if not (cluster := library.rd_kafka_mock_cluster_new(handle, brokers)):
            raise BrokerError("librdkafka could not start its mock cluster; is loopback usable?")
        library.rd_kafka_mock_group_initial_rebalance_delay_ms(cluster, 0)
        self._cluster = cluster
        self.address: str = library.rd_kafka_mock_cluster_bootstraps(cluster).decode()

    def create(self, topic: str, partitions: int) -> str:
        """Make a topic; returns `ok` or why not."""
        replicas = 1
        error: int = self._library.rd_kafka_mock_topic_create(self._cluster, topic.encode(), partitions, replicas)
        return "ok" if error == 0 else str(self._library.rd_kafka_err2str(error).decode())


def _librdkafka() -> ctypes.CDLL:
    """The library inside the confluent-kafka wheel (Linux: beside the package, macOS: inside it)."""
    import confluent_kafka

    package = Path(confluent_kafka.__file__).parent
    found = [*package.parent.glob("confluent_kafka.libs/librdkafka*"), *package.glob(".dylibs/librdkafka*")]
    if not found:
        raise BrokerError(
            "The embedded broker needs the confluent-kafka wheel with its own librdkafka; install it with pip (requirements.lock) instead of building it."
        )
    return ctypes.CDLL(str(found[0]))


def main(arguments: Sequence[str] | None = None) -> int:
    parser = argparse.ArgumentParser(
        prog="python -m agents.brokers", description="An embedded Kafka for trying and testing; runs until its standard input ends."
    )
    parser.add_argument("--partitions", type=int, default=8, help="of each topic (default 8)")
    parser.add_argument("topics", nargs="*", metavar="TOPIC", help="topics to make")
    options = parser.parse_args(arguments)
    try:
        cluster = MockCluster()
        for topic in options.topics:
            if (answer := cluster.create(topic, options.partitions)) != "ok":
                raise BrokerError(f"The embedded broker refused topic {topic!r}: {answer}.")
    except BrokerError as error:
        print(error, file=sys.stderr)
        return 2
    print(cluster.address, flush=True)
    try:
        for line in sys.stdin:
            topic, _, partitions = line.strip().rpartition(" ")
            print(cluster.create(topic, int(partitions)) if topic and partitions.isdecimal() else "a line is NAME PARTITIONS", flush=True)
    except KeyboardInterrupt:
        pass
    return 0


if __name__ == "__main__":
    sys.exit(main())
