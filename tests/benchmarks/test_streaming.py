from pathlib import Path

from benchmarks import streaming
from benchmarks.stream import Small, Wide, fill
from convergence.services.kafka import KafkaBroker


def test_the_lander_and_the_loop_by_hand_write_the_same_rows(kafka: KafkaBroker, tmp_path: Path):
    contents = set()
    for contract in (Small, Wide):
        topic = f"bench.{contract.__name__}"
        fill(kafka.bootstrap, topic, 2_000, contract)
        for work in (streaming.ours, streaming.by_hand):
            root = tmp_path / contract.__name__ / work.__name__
            work(kafka.bootstrap, topic, contract, str(root))
            contents.add(streaming._content(root))
    assert {content[:2] for content in contents} == {(2_000, 2_000)}
    assert len(contents) == 2


def test_content_tells_a_changed_value_from_the_same_rows_in_another_order(tmp_path: Path):
    import polars as pl
    from deltalake import write_deltalake

    rows = pl.DataFrame({"transaction_id": [1, 2], "amount": [1.0, 2.0], "source": ["a", "b"]})
    found = []
    for number, frame in enumerate([rows, rows.reverse(), rows.with_columns(amount=pl.lit(2.0))]):
        write_deltalake(str(tmp_path / f"{number}" / "bench" / "transactions"), frame)
        found.append(streaming._content(tmp_path / f"{number}"))
    assert found[0] == found[1] != found[2]
