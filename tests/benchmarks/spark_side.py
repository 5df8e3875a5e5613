"""Tables as Spark reads them: `python -m tests.benchmarks.spark_side JARS "TABLE=>OUT"...`, in a process of its own."""

import sys

from benchmarks.spark_streaming import session


def main() -> None:
    """Write each table's rows as Parquet."""
    spark = session(sys.argv[1])
    for pair in sys.argv[2:]:
        table, out = pair.split("=>")
        spark.read.format("delta").load(table).coalesce(1).write.parquet(out)
    spark.stop()


if __name__ == "__main__":
    main()
