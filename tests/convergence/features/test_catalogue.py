"""What the catalogue says of a feature: read from the declaration, the source text and the rows."""

from pathlib import Path

import polars as pl
import pytest

from convergence.features.catalogue import FeatureUnknown, declared_at, features_of, find, statistics
from convergence_assets import definitions
from convergence_assets.churn import feature_views as churn
from convergence_assets.fraud import feature_views as fraud

ASSETS = Path(definitions.__file__).parent
TABLES = (*fraud.VIEWS, *churn.VIEWS)
EVERY = [feature for table in TABLES for feature in features_of(table)]


def test_an_aggregate_is_told_as_it_is_declared() -> None:
    (feature,) = find(TABLES, "customer_genuine_mean_30d")
    assert feature.definition == "mean of amount (units of 0.01) where is_genuine"
    assert (feature.entity, feature.window, feature.delay) == (("customer_id",), "30 days", "7 days")
    assert feature.reads == ("labels.customer_id", "labels.amount", "labels.is_genuine")
    assert not feature.is_model_input
    assert feature.used_by == ("amount_to_genuine_mean", "max_to_genuine_mean")


def test_an_expression_names_the_columns_and_features_that_it_needs() -> None:
    (feature,) = find(TABLES, "amount_to_mean")
    assert feature.reads == ("transactions.amount", "customer_mean_30d")
    (feature,) = find(TABLES, "newness")
    assert feature.reads == ("accounts.tenure_months",)


@pytest.mark.parametrize("feature", EVERY, ids=[feature.name for feature in EVERY])
def test_the_line_of_every_feature_declares_it(feature: object) -> None:
    found = declared_at(ASSETS / feature.use_case, feature.name)  # type: ignore[attr-defined]
    assert found is not None
    file, line = found
    text = file.read_text().splitlines()[line - 1]
    assert file.name == "feature_views.py"
    assert any(word in text for word in ("Aggregate(", "RowExpression(", "_is("))


def test_the_longest_constant_part_decides_which_line_is_meant(tmp_path: Path) -> None:
    (tmp_path / "views.py").write_text('f(f"{a}_1h", 1)\nf(f"count_{a}", 1)\nf("count_1h_x", 1)\ncol("count_1h")\n')
    assert declared_at(tmp_path, "count_1h") == (tmp_path / "views.py", 2)
    assert declared_at(tmp_path, "count_1h_x") == (tmp_path / "views.py", 3)
    assert declared_at(tmp_path, "nothing") is None


def test_an_unknown_name_is_answered_with_similar_ones() -> None:
    with pytest.raises(FeatureUnknown, match="do you mean customer_count_1h"):
        find(TABLES, "customr_count_1h")


def test_statistics_tell_what_is_missing_and_how_the_rest_lies() -> None:
    rows = pl.DataFrame({"x": [1.0, None, 2.0, 3.0], "yes": [True, True, False, None], "text": ["a", "a", "b", None]})
    assert statistics(rows, "x") == {
        **{"rows": 4, "null": 0.25, "mean": 2.0, "std": 1.0, "min": 1.0},
        **{"5%": 1.0, "50%": 2.0, "95%": 3.0, "max": 3.0},
    }
    assert statistics(rows, "yes")["mean"] == pytest.approx(2 / 3)
    assert statistics(rows, "text") == {"rows": 4, "null": 0.25, "different": 2, "most frequent": "a"}
    assert statistics(rows.clear(), "x")["mean"] is None
