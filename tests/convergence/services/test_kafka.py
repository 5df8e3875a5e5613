"""The broker as a process: what is kept over a kill, who may be ended, and what is said when it cannot start."""

import os
import signal
import socket
import subprocess
import sys
import threading
import time
from pathlib import Path

import pytest
from confluent_kafka import Consumer, Producer, TopicPartition

from convergence.errors import ServiceError
from convergence.services.kafka import KafkaBroker
from convergence.services.topics import create_topic


def produce(bootstrap: str, topic: str, *values: bytes) -> None:
    producer = Producer({"bootstrap.servers": bootstrap, "enable.idempotence": True})
    for value in values:
        producer.produce(topic, value, partition=0)
    assert producer.flush(30) == 0


def contents(bootstrap: str, topic: str) -> list[bytes | None]:
    consumer = Consumer({"bootstrap.servers": bootstrap, "group.id": "test", "enable.auto.commit": False})
    consumer.assign([TopicPartition(topic, 0, 0)])
    _, end = consumer.get_watermark_offsets(TopicPartition(topic, 0), timeout=30)
    found = [message.value() for message in consumer.consume(end, timeout=30)] if end else []
    consumer.close()
    return found


def test_what_was_acknowledged_is_there_after_a_kill_and_a_restart_on_the_same_port(mortal: KafkaBroker) -> None:
    create_topic(mortal.bootstrap, "kept", 1)
    produce(mortal.bootstrap, "kept", b"1", b"2")
    before = mortal.bootstrap
    mortal.kill()
    assert (mortal.pid, mortal.died, mortal.reachable()) == (None, True, False)
    assert mortal.start()
    assert (mortal.bootstrap, mortal.died) == (before, False)
    produce(mortal.bootstrap, "kept", b"3")
    assert contents(mortal.bootstrap, "kept") == [b"1", b"2", b"3"]


def test_a_death_that_nobody_asked_for_shows_and_is_mended_by_a_start(mortal: KafkaBroker) -> None:
    pid = mortal.pid
    assert pid
    os.kill(pid, signal.SIGKILL)
    while mortal.reachable():
        time.sleep(0.01)
    assert mortal.died
    assert mortal.start()
    assert mortal.pid != pid


def test_it_ends_by_sigterm_even_if_its_starter_ignored_the_signal(kafka_jars: Path, tmp_path: Path) -> None:
    program = (
        "import signal as s, sys; [s.signal(number, s.SIG_IGN) for number in (s.SIGTERM, s.SIGINT)]\n"
        "from pathlib import Path; from convergence.services.kafka import KafkaBroker\n"
        "KafkaBroker(Path(sys.argv[1]), Path(sys.argv[2])).start()"
    )
    subprocess.run([sys.executable, "-c", program, str(tmp_path), str(kafka_jars)], check=True, timeout=120)
    elsewhere = KafkaBroker(tmp_path)  # the starter is gone: only the folder tells of the broker
    try:
        assert elsewhere.reachable()
        assert os.getsid(elsewhere.pid or 0) == elsewhere.pid
        assert elsewhere.stop(timeout=30)
        assert (elsewhere.pid, elsewhere.died, elsewhere.reachable()) == (None, False, False)
    finally:
        elsewhere.kill()


def test_a_second_start_finds_it_running_and_leaves_it_alone(mortal: KafkaBroker, kafka_jars: Path) -> None:
    pid = mortal.pid
    assert not KafkaBroker(mortal.folder, kafka_jars).start()
    assert mortal.pid == pid


def test_another_port_than_it_runs_on_is_refused(mortal: KafkaBroker, kafka_jars: Path) -> None:
    with pytest.raises(ServiceError, match=f"runs on port {mortal.port}, not 19999"):
        KafkaBroker(mortal.folder, kafka_jars, port=19_999).start()
    assert mortal.pid


def test_a_process_that_got_the_pid_of_a_dead_broker_is_not_ended(tmp_path: Path) -> None:
    stranger = subprocess.Popen(
        [sys.executable, "-c", "input()", str(tmp_path / "server.properties")], stdin=subprocess.PIPE
    )
    (tmp_path / "broker.pid").write_text(f'{{"pid": {stranger.pid}, "port": 20001, "controller": 20002}}')
    broker = KafkaBroker(tmp_path)
    assert (broker.pid, broker.died) == (None, True)
    broker.kill()
    assert not broker.stop()
    assert stranger.poll() is None
    stranger.communicate()
    assert not broker.died


def test_a_taken_port_is_named_before_anything_starts(kafka_jars: Path, tmp_path: Path) -> None:
    with socket.socket() as other:
        other.bind(("127.0.0.1", 0))
        other.listen()
        port = other.getsockname()[1]
        with pytest.raises(ServiceError, match=f"port {port} is taken.*choose another port"):
            KafkaBroker(tmp_path, kafka_jars, port=port).start()
    assert not (tmp_path / "broker.log").exists()


def test_a_death_at_the_start_shows_the_end_of_the_log_and_leaves_nothing_running(
    kafka_jars: Path, tmp_path: Path
) -> None:
    broker = KafkaBroker(tmp_path, kafka_jars)
    (tmp_path / "data").mkdir()
    (tmp_path / "data" / "meta.properties").write_text("version=1\nnode.id=7\ncluster.id=elsewhere\n")
    with pytest.raises(ServiceError, match=r"died while it started(.|\n)*broker\.log:\n(.|\n)*Stored node id 7"):
        broker.start()
    assert (broker.pid, broker.died) == (None, False)


def test_two_starts_at_once_give_one_broker(kafka_jars: Path, tmp_path: Path) -> None:
    first = KafkaBroker(tmp_path, kafka_jars)
    second = KafkaBroker(tmp_path, kafka_jars, port=first.port)
    began: list[bool] = []
    threads = [threading.Thread(target=lambda b=b: began.append(b.start())) for b in (first, second)]
    try:
        for thread in threads:
            thread.start()
        for thread in threads:
            thread.join()
        assert sorted(began) == [False, True]
        assert first.pid == second.pid
    finally:
        first.kill()
        second.kill()


def test_a_topic_is_made_once_and_stamps_messages_when_they_are_appended(kafka: KafkaBroker) -> None:
    assert create_topic(kafka.bootstrap, "made.once", 3)
    assert not create_topic(kafka.bootstrap, "made.once", 3)
    old = 1_000_000_000_000
    producer = Producer({"bootstrap.servers": kafka.bootstrap})
    producer.produce("made.once", b"1", partition=0, timestamp=old)
    producer.flush(30)
    consumer = Consumer({"bootstrap.servers": kafka.bootstrap, "group.id": "test"})
    consumer.assign([TopicPartition("made.once", 0, 0)])
    message = consumer.poll(30)
    consumer.close()
    assert message
    assert message.timestamp()[1] > old


def test_another_number_of_partitions_is_refused(kafka: KafkaBroker) -> None:
    create_topic(kafka.bootstrap, "of.two", 2)
    with pytest.raises(ServiceError, match="has 2 partitions, not 3"):
        create_topic(kafka.bootstrap, "of.two", 3)


def test_a_cluster_that_is_not_there_is_said_so() -> None:
    with pytest.raises(ServiceError, match=r"topic t could not be made at 127\.0\.0\.1:1"):
        create_topic("127.0.0.1:1", "t", 1, timeout=2)
