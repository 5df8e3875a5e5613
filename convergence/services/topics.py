"""Topics of a Kafka cluster, made before anything is sent: their partitions decide where a key goes, for good."""

import time

from convergence.errors import ServiceError


def create_topic(bootstrap: str, name: str, partitions: int, *, timeout: float = 15) -> bool:
    """Make a topic that stamps messages when they are appended, and wait until it has leaders; False: it was there.

    Replication is the cluster's default. Raises ServiceError when the cluster does not answer, or when the topic
    exists with another number of partitions.
    """
    from confluent_kafka import KafkaError, KafkaException
    from confluent_kafka.admin import AdminClient, NewTopic  # pyright: ignore[reportPrivateImportUsage]

    admin = AdminClient({"bootstrap.servers": bootstrap, "log_level": 0})
    wanted = NewTopic(name, partitions, config={"message.timestamp.type": "LogAppendTime"})
    made = True
    try:
        admin.create_topics([wanted], operation_timeout=timeout, request_timeout=timeout)[name].result()
    except KafkaException as error:
        if error.args[0].code() != KafkaError.TOPIC_ALREADY_EXISTS:
            raise ServiceError(
                f"topic {name} could not be made at {bootstrap}: {error.args[0].str()}. Look whether the cluster runs "
                "(`convergence services status`) and that is its address"
            ) from error
        made = False
    deadline = time.monotonic() + timeout
    while True:
        there = admin.list_topics(name, timeout=timeout).topics[name].partitions
        if there and all(partition.leader >= 0 for partition in there.values()):
            break
        if time.monotonic() > deadline:
            raise ServiceError(
                f"topic {name} has had no leader for {timeout:.0f} s: look at the brokers of {bootstrap}"
            )
        time.sleep(0.05)
    if len(there) != partitions:
        raise ServiceError(
            f"topic {name} has {len(there)} partitions, not {partitions}: use that number, or another topic; adding "
            "partitions would send the keys elsewhere"
        )
    return made
