"""H2O AutoML on given folds, as a process of the Python that has H2O: it needs a JVM, and brings an HTTP server.

`h2o_automl.py ROWS SETTINGS`: a Parquet file of features, `label` and `fold` in, and what was found as JSON on the last
line of its output. It stands alone: nothing of ours can be imported there. The server listens on loopback behind a
password of this run, and ends with it.
"""

# pyright: reportMissingImports=false

import json
import sys
import time
from pathlib import Path
from typing import Any


def found(rows: str, settings: dict[str, Any], folder: str) -> dict[str, Any]:
    """H2O's leaderboard, and the seconds that the search took it."""
    import h2o
    import pandas as pd
    from h2o.automl import H2OAutoML
    from h2o.backend import H2OLocalServer

    server = H2OLocalServer.start(
        nthreads=settings["threads"],
        max_mem_size=settings["memory"],
        ice_root=folder,
        log_dir=folder,
        port=settings["port"],
        name=f"convergence-{settings['port']}",
        verbose=False,
    )
    try:
        h2o.connect(server=server, verbose=False)
        h2o.no_progress()
        frame = h2o.H2OFrame(pd.read_parquet(rows))
        frame["label"] = frame["label"].asfactor()
        search = H2OAutoML(
            max_models=settings["models"],
            max_runtime_secs=settings["budget"],
            seed=settings["seed"],
            sort_metric="logloss",
            include_algos=settings["algorithms"],
            verbosity=None,
        )
        begun = time.monotonic()
        search.train(y="label", training_frame=frame, fold_column="fold")
        seconds = time.monotonic() - begun
        models = [h2o.get_model(m) for m in search.leaderboard.as_data_frame(use_pandas=True)["model_id"]]
        return {"seconds": seconds, "version": h2o.__version__, "models": [_row(m) for m in models]}
    finally:
        server.shutdown()


def _row(model: Any) -> dict[str, Any]:
    summary = {r[0]: (float(r[1]), float(r[2])) for r in model.cross_validation_metrics_summary().cell_values}
    return {
        "algorithm": model.algo,
        "model": model.model_id,
        "seconds": model._model_json["output"]["run_time"] / 1000,
        **{
            f"{ours}{part}": summary[theirs][place]
            for ours, theirs in (("auc", "auc"), ("log_loss", "logloss"), ("brier", "mse"))
            for place, part in enumerate(("", "_sd"))
        },
    }


if __name__ == "__main__":
    Path(sys.argv[3], "found.json").write_text(json.dumps(found(sys.argv[1], json.loads(sys.argv[2]), sys.argv[3])))
