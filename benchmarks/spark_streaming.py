"""Spark Structured Streaming from Kafka to Delta, as a process: `python -m benchmarks.spark_streaming JSON`."""

# pyright: reportMissingImports=false
# pyspark comes with `make bench` only

import json
import os
import sys
import time

from pyspark.sql import DataFrame, SparkSession
from pyspark.sql import functions as f

from benchmarks.spark_source import KafkaSource

SMALL = "t TIMESTAMP, id BIGINT, card BIGINT, amount DOUBLE"
COLUMNS = {"Small": SMALL, "Wide": f"{SMALL}, agent STRING, merchant STRING, device STRING, note STRING"}


def session(jars: str) -> SparkSession:
    """Two cores, Delta, no web interface."""
    os.environ |= {"PYSPARK_PYTHON": sys.executable, "PYSPARK_DRIVER_PYTHON": sys.executable, "TZ": "UTC"}
    options = {
        "spark.jars": jars,
        "spark.sql.extensions": "io.delta.sql.DeltaSparkSessionExtension",
        "spark.sql.catalog.spark_catalog": "org.apache.spark.sql.delta.catalog.DeltaCatalog",
        "spark.sql.session.timeZone": "UTC",
        "spark.sql.shuffle.partitions": "2",
        "spark.databricks.delta.snapshotPartitions": "2",
        "spark.driver.memory": "3g",
        "spark.driver.host": "127.0.0.1",
        "spark.ui.enabled": "false",
        "spark.ui.showConsoleProgress": "false",
    }
    builder = SparkSession.builder.master("local[2]").appName("benchmark")  # pyright: ignore[reportAttributeAccessIssue]
    for key, value in options.items():
        builder = builder.config(key, value)
    return builder.getOrCreate()


def land(spark: SparkSession, bootstrap: str, topic: str, columns: str, target: str, most: int) -> None:
    """Everything in the topic, in batches of `most` messages, into a new Delta table."""
    read = spark.readStream.format("kafka_python").option("kafka.bootstrap.servers", bootstrap)
    rows = typed(read.option("subscribe", topic).option("maxOffsetsPerTrigger", most).load(), columns)
    write = rows.writeStream.format("delta").partitionBy("event_date").trigger(availableNow=True)
    write.option("checkpointLocation", f"{target}_checkpoint").start(target).awaitTermination()


def typed(rows: DataFrame, columns: str) -> DataFrame:
    """The columns that the other two write as well."""
    message = f.from_json(f.col("value").cast("string"), columns)
    time = f.col("m.t").alias("event_time")
    others = [f.col(f"m.{c.split()[0]}") for c in columns.split(", ")[3:]]
    return rows.select(message.alias("m"), f.col("partition").cast("string").alias("source"), "offset").select(
        f.to_date("m.t").alias("event_date"),
        time,
        time.alias("arrived_at"),
        f.col("m.id").alias("transaction_id"),
        f.col("m.card").alias("card_id"),
        *others,
        "source",
        "offset",
    )


def main() -> None:
    """Land each case of the argument and print its seconds, as JSON on the last line; the first case warms up."""
    todo = json.loads(sys.argv[1])
    spark = session(todo["jars"])
    spark.sparkContext.setLogLevel("ERROR")
    spark.dataSource.register(KafkaSource)
    seconds = []
    for topic, columns, target in todo["cases"]:
        began = time.perf_counter()
        land(spark, todo["bootstrap"], topic, COLUMNS[columns], target, todo["most"])
        seconds.append(time.perf_counter() - began)
    spark.stop()
    print(json.dumps(seconds))


if __name__ == "__main__":
    main()
