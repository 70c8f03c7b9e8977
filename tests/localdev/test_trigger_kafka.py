"""The trigger as a process between a real broker and a function: nothing is lost, order is kept, whoever is killed or comes and goes."""

import signal
import subprocess
import sys
import threading
import urllib.request
from collections import Counter, defaultdict
from collections.abc import Callable, Iterator
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path
from uuid import uuid4

import pytest
from confluent_kafka import Consumer, Producer, TopicPartition
from confluent_kafka.admin import AdminClient, NewTopic  # type: ignore[attr-defined]  # re-exported without saying so

from localdev.ports import free_port
from tests.localdev.conftest import PROGRAMS
from tests.waiting import until

pytestmark = pytest.mark.stack

PARTITIONS = 4
Answer = Callable[[str], int]


class Sink:
    """A function: keeps what it took, in order, by partition; `answer` gives the status for a body."""

    def __init__(self) -> None:
        self.answer: Answer = lambda _: 204
        self.taken: dict[int, list[str]] = defaultdict(list)
        self.tries: Counter[str] = Counter()
        self.headers: dict[str, dict[str, str]] = {}
        self.most_in_flight: Counter[int] = Counter()
        self._in_flight: Counter[int] = Counter()
        self._lock = threading.Lock()
        self._server = ThreadingHTTPServer(("127.0.0.1", 0), self._handler())
        self._server.daemon_threads = True
        self.port = self._server.server_port
        threading.Thread(target=self._server.serve_forever, args=(0.02,), daemon=True).start()

    def _handler(self) -> type[BaseHTTPRequestHandler]:
        sink = self

        class Handler(BaseHTTPRequestHandler):
            protocol_version = "HTTP/1.1"

            def do_POST(self) -> None:
                body = self.rfile.read(int(self.headers["Content-Length"])).decode()
                self.send_response(sink.take(int(self.headers["ce-knativekafkapartition"]), body, dict(self.headers.items())))
                self.send_header("Kne-Reason", "refused_here")
                self.send_header("Content-Length", "0")
                self.end_headers()

            def log_message(self, *_: object) -> None:
                pass

        return Handler

    def take(self, partition: int, body: str, headers: dict[str, str]) -> int:
        """Answer a request."""
        with self._lock:
            self.tries[body] += 1
            self._in_flight[partition] += 1
            self.most_in_flight[partition] = max(self.most_in_flight[partition], self._in_flight[partition])
            self.headers[body] = {name.lower(): value for name, value in headers.items()}
        try:
            status = self.answer(body)
        finally:
            with self._lock:
                self._in_flight[partition] -= 1
        if status < 300:
            with self._lock:
                self.taken[partition].append(body)
        return status

    def bodies(self) -> set[str]:
        """All that was taken."""
        with self._lock:
            return {body for bodies in self.taken.values() for body in bodies}

    def close(self) -> None:
        """Stop serving."""
        self._server.shutdown()
        self._server.server_close()


class Bench:
    """A topic, a function, and triggers between them."""

    def __init__(self, address: str, folder: Path) -> None:
        self.broker = address
        self.topic = f"test-{uuid4()}"
        self.group = f"group-{uuid4()}"
        self.sink = Sink()
        self._folder = folder
        self._triggers: dict[int, subprocess.Popen[bytes]] = {}
        self._producer = Producer({"bootstrap.servers": address})
        self._numbers: Counter[int] = Counter()
        admin = AdminClient({"bootstrap.servers": address})
        admin.create_topics([NewTopic(self.topic, PARTITIONS, 1)])[self.topic].result()

    def publish(self, count: int, partitions: int = PARTITIONS) -> set[str]:
        """That many events to each of the partitions, bodies "<partition>/<number>"."""
        sent = set()
        for partition in range(partitions):
            for _ in range(count):
                body = f"{partition}/{self._numbers[partition]}"
                self._numbers[partition] += 1
                attributes = {"specversion": "1.0", "id": body, "source": "/test", "type": "test"}
                self._producer.produce(self.topic, body, partition=partition, headers=[(f"ce_{name}", value.encode()) for name, value in attributes.items()])
                sent.add(body)
        assert self._producer.flush(10) == 0
        return sent

    def start(self, in_flight: int = 1, *, wait: bool = True) -> int:
        """A trigger; its port, once it has joined the group."""
        port = free_port()
        command = [sys.executable, str(PROGRAMS / "trigger.py"), self.broker, self.group, self.topic, str(self.sink.port), str(in_flight), str(port)]
        with (self._folder / f"trigger-{port}.log").open("ab") as log:
            self._triggers[port] = subprocess.Popen(command, stdout=log, stderr=log)
        if wait:
            until(lambda: self.get(port, "/readyz") is not None, what="readiness of the trigger")
        return port

    def stop(self, port: int, number: int = signal.SIGTERM) -> int:
        """Signal a trigger; its exit code."""
        process = self._triggers.pop(port)
        process.send_signal(number)
        return process.wait(20)

    def get(self, port: int, path: str) -> str | None:
        """What it answers, if 200."""
        try:
            with urllib.request.urlopen(f"http://127.0.0.1:{port}{path}", timeout=5) as response:
                return str(response.read().decode())
        except OSError:
            return None

    def committed(self) -> dict[int, int]:
        """The group's offsets by partition."""
        consumer = Consumer({"bootstrap.servers": self.broker, "group.id": self.group})
        offsets = consumer.committed([TopicPartition(self.topic, partition) for partition in range(PARTITIONS)], timeout=10)
        consumer.close()
        return {offset.partition: max(0, offset.offset) for offset in offsets}

    def metric(self, port: int, name: str) -> float:
        """Sum of a metric over its labels."""
        lines = (self.get(port, "/metrics") or "").splitlines()
        return sum(float(line.rpartition(" ")[2]) for line in lines if line.startswith((f"{name}{{", f"{name} ")))

    def clean_up(self) -> None:
        """Whatever happened, nothing stays."""
        for process in self._triggers.values():
            process.kill()
            process.wait()
        self.sink.close()


@pytest.fixture
def bench(kafka: str, tmp_path: Path) -> Iterator[Bench]:
    """A fresh topic and group."""
    made = Bench(kafka, tmp_path)
    yield made
    made.clean_up()


def test_ordered_partition_is_delivered_in_order(bench: Bench) -> None:
    """One at a time per partition, also through failures, and each once when nobody dies."""
    bench.sink.answer = lambda body: 503 if bench.sink.tries[body] == 1 and body.endswith("3") else 204
    sent = bench.publish(30)
    port = bench.start(in_flight=1)
    until(lambda: bench.sink.bodies() == sent)
    assert bench.sink.taken == {partition: [f"{partition}/{number}" for number in range(30)] for partition in range(PARTITIONS)}
    assert set(bench.sink.most_in_flight.values()) == {1}
    assert bench.stop(port) == 0
    assert bench.committed() == dict.fromkeys(range(PARTITIONS), 30)


def test_unordered_partition_has_several_in_flight(bench: Bench) -> None:
    """As many as its row says, no more."""
    meet = threading.Barrier(3, timeout=10)

    def answer(body: str) -> int:
        if int(body.partition("/")[2]) < 9:
            meet.wait()
        return 204

    bench.sink.answer = answer
    sent = bench.publish(30, partitions=1)
    bench.start(in_flight=3)
    until(lambda: bench.sink.bodies() == sent)
    assert bench.sink.most_in_flight == {0: 3}


def test_no_offset_beyond_a_gap_survives_a_kill(bench: Bench) -> None:
    """A record that isn't done holds its partition's offset, so that it comes again after kill -9, however many behind it are done."""
    bench.sink.answer = lambda body: 503 if body == "0/2" else 204
    sent = bench.publish(10)
    port = bench.start(in_flight=4)
    until(lambda: bench.sink.bodies() == sent - {"0/2"})
    until(lambda: bench.committed() == {0: 2, 1: 10, 2: 10, 3: 10})
    bench.stop(port, signal.SIGKILL)
    bench.sink.answer = lambda _: 204
    bench.start(in_flight=4)
    until(lambda: bench.sink.bodies() == sent)
    until(lambda: bench.committed() == dict.fromkeys(range(PARTITIONS), 10))
    assert {bench.sink.tries[body] for body in sent if body.startswith("1/")} == {1}


def test_record_that_is_stuck_in_front_keeps_no_other_of_its_partition_waiting(bench: Bench) -> None:
    """Nothing may be committed then, which is no reason not to read on: there are more records than a trigger takes at once."""
    bench.sink.answer = lambda body: 503 if body == "0/0" else 204
    sent = bench.publish(600)
    bench.start(in_flight=4)
    until(lambda: bench.sink.bodies() == sent - {"0/0"}, 60)
    assert bench.committed().get(0, 0) == 0
    bench.sink.answer = lambda _: 204
    until(lambda: bench.sink.bodies() == sent)
    until(lambda: bench.committed() == dict.fromkeys(range(PARTITIONS), 600))


def test_function_that_comes_up_late_gets_everything(bench: Bench) -> None:
    """The trigger starts, is ready and waits while nobody answers; its lag shows."""
    bench.sink.answer = lambda _: 503
    sent = bench.publish(5)
    port = bench.start()
    until(lambda: len(bench.sink.tries) == PARTITIONS)
    assert bench.metric(port, "obstack_group_lag_records") == 20
    assert bench.metric(port, "obstack_trigger_in_flight_records") == PARTITIONS
    bench.sink.answer = lambda _: 204
    until(lambda: bench.sink.bodies() == sent)
    until(lambda: bench.metric(port, "obstack_group_lag_records") == 0)
    assert bench.metric(port, "obstack_trigger_retries_total") >= PARTITIONS


def test_full_partition_is_paused_and_resumed(bench: Bench) -> None:
    """While a partition's records wait it isn't read, but the others are; when it drains, the rest comes, each once."""
    gate = threading.Event()
    bench.sink.answer = lambda body: 204 if gate.is_set() or not body.startswith("0/") else 503
    sent = bench.publish(600)
    port = bench.start()
    until(lambda: bench.sink.bodies() == {body for body in sent if not body.startswith("0/")}, 60)
    until(lambda: bench.metric(port, "obstack_trigger_paused_partitions") == 1)
    gate.set()
    until(lambda: bench.sink.bodies() == sent, 60)
    assert bench.sink.taken[0] == [f"0/{number}" for number in range(600)]
    assert bench.metric(port, "obstack_trigger_paused_partitions") == 0


def test_refused_event_is_in_the_dead_letters(bench: Bench) -> None:
    """With its own headers and the refusal, and the partition goes on."""
    bench.sink.answer = lambda body: 422 if body == "1/0" else 204
    sent = bench.publish(3)
    port = bench.start()
    until(lambda: bench.sink.bodies() == sent - {"1/0"})
    until(lambda: bench.committed() == dict.fromkeys(range(PARTITIONS), 3))
    letter = dead_letter(bench.broker, bench.sink.port)
    assert letter["body"] == "1/0"
    assert (letter["ce_id"], letter["ce_type"], letter["ce_knativekafkapartition"]) == ("1/0", "test", "1")
    assert (letter["ce_knativeerrorcode"], letter["ce_reason"]) == ("422", "refused_here")
    assert (bench.sink.tries["1/0"], bench.metric(port, "obstack_trigger_dead_letters_total")) == (1, 1)


def dead_letter(broker: str, port: int) -> dict[str, str]:
    """The first letter from the function on that port."""
    consumer = Consumer({"bootstrap.servers": broker, "group.id": str(uuid4()), "auto.offset.reset": "earliest"})
    consumer.subscribe(["telemetry.dead-letters"])

    def poll() -> dict[str, str] | None:
        message = consumer.poll(0.5)
        if message is None or message.error():
            return None
        headers = {name: value.decode() for name, value in dict(message.headers() or {}).items() if isinstance(value, bytes)}
        if headers["ce_knativeerrordest"] != f"http://127.0.0.1:{port}/":
            return None
        return headers | {"body": (message.value() or b"").decode()}

    try:
        return until(poll, what="the dead letter") or {}
    finally:
        consumer.close()


def test_record_that_is_no_event_is_wrapped(bench: Bench) -> None:
    """So that the function sees a publisher's defect."""
    producer = Producer({"bootstrap.servers": bench.broker})
    producer.produce(bench.topic, "plain", partition=2, headers=[("content-type", b"text/plain"), ("ce_specversion", b"1.0")])
    producer.flush(10)
    bench.start()
    until(lambda: bench.sink.bodies() == {"plain"})
    headers = bench.sink.headers["plain"]
    assert (headers["ce-type"], headers["ce-id"], headers["content-type"]) == ("dev.knative.kafka.event", "partition:2/offset:0", "text/plain")


@pytest.mark.parametrize("end", [signal.SIGTERM, signal.SIGKILL])
def test_two_triggers_share_and_lose_nothing(bench: Bench, end: signal.Signals) -> None:
    """One comes while records flow, one goes; a partition's order holds for each of its owners, and a clean end redelivers nothing."""
    first = bench.start(in_flight=1)
    sent = bench.publish(50)
    second = bench.start(in_flight=1)
    sent |= bench.publish(50)
    until(lambda: bench.sink.bodies() == sent, 60)
    sent |= bench.publish(50)
    bench.stop(first, end)
    sent |= bench.publish(50)
    until(lambda: bench.sink.bodies() == sent, 60)
    assert bench.get(second, "/readyz")
    until(lambda: bench.committed() == dict.fromkeys(range(PARTITIONS), 200))
    if end is signal.SIGTERM:
        assert {body: tries for body, tries in bench.sink.tries.items() if tries > 1} == {}
        assert bench.sink.taken == {partition: [f"{partition}/{number}" for number in range(200)] for partition in range(PARTITIONS)}


def test_stop_finishes_what_is_in_flight(bench: Bench) -> None:
    """SIGTERM: the answer under way still counts, nothing new is begun, the offset is committed."""
    arrived, release = threading.Event(), threading.Event()

    def answer(_: str) -> int:
        arrived.set()
        release.wait(10)
        return 204

    bench.sink.answer = answer
    bench.publish(5, partitions=1)
    port = bench.start()
    assert arrived.wait(10)
    threading.Timer(0.3, release.set).start()
    assert bench.stop(port) == 0
    assert bench.sink.taken == {0: ["0/0"]}
    assert bench.committed()[0] == 1
