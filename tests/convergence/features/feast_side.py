"""Feast's side of `test_feast_repository`, run once by the Python that has Feast: applies repositories, reads them."""

import json
import os
import sys
from datetime import UTC, datetime
from pathlib import Path

import pandas as pd
from feast import FeatureStore
from feast.repo_config import load_repo_config
from feast.repo_operations import apply_total


def answer(repository: Path, asked: Path) -> None:
    """Answer each Parquet file in `asked`: historical features of its rows, and online ones of its keys."""
    os.chdir(repository)
    sys.path.insert(0, str(repository))
    apply_total(load_repo_config(repository, repository / "feature_store.yaml"), repository, False)
    del sys.modules["features"]  # the next repository has one too
    store = FeatureStore(str(repository))
    store.materialize(datetime(1970, 1, 1, tzinfo=UTC), datetime(2028, 1, 1, tzinfo=UTC))
    declared = {}
    for file in sorted(asked.glob("*.parquet")):
        view = store.get_feature_view(file.stem)
        names = [f"{view.name}:{feature.name}" for feature in view.features]
        rows = pd.read_parquet(file)
        store.get_historical_features(rows, names).to_df().to_parquet(asked / f"{file.stem}.historical")
        if view.online:
            keys = rows[view.join_keys].drop_duplicates().to_dict("records")
            pd.DataFrame(store.get_online_features(names, keys).to_dict()).to_parquet(asked / f"{file.stem}.online")
        fields = {field.name: field.description for field in view.features}
        tags = {field.name: dict(field.tags) for field in view.features}
        declared[view.name] = {"online": view.online, "owner": view.owner, "features": fields, "tags": tags}
    (asked / "declared.json").write_text(json.dumps(declared))


if __name__ == "__main__":
    for folder in map(Path, sys.argv[1:]):
        answer(folder / "repository", folder / "asked")
