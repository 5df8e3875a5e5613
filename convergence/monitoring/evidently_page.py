"""Makes Evidently's page, as a process of the Python that has Evidently: it brings pandas, which ours is kept free of.

`evidently_page.py REFERENCE CURRENT PAGE METHOD`: two Parquet files in, a page out, and what was found as JSON on the
last line of its output. It stands alone: nothing of ours can be imported there.
"""

# pyright: reportMissingImports=false

import json
import sys
import time


def made(reference: str, current: str, page: str, method: str) -> dict[str, float]:
    """Write the page; columns that have drifted by Evidently's own limit, and the seconds that comparing them took."""
    import pandas as pd
    from evidently import Report
    from evidently.presets import DataDriftPreset

    old, new = pd.read_parquet(reference), pd.read_parquet(current)
    wall, cpu = time.perf_counter(), time.process_time()
    result = Report([DataDriftPreset(method=method)]).run(current_data=new, reference_data=old)
    took = {"wall": time.perf_counter() - wall, "cpu": time.process_time() - cpu}
    result.save_html(page)
    counts = (m["value"]["count"] for m in result.dict()["metrics"] if "count" in getattr(m["value"], "keys", tuple)())
    return {"drifted_columns": int(next(counts)), **took}


if __name__ == "__main__":
    print(json.dumps(made(*sys.argv[1:])))
