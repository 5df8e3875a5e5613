"""The resources of every asset, made from the settings."""

from collections.abc import Mapping
from typing import Any

import dagster as dg

from resources.alerts import Alerts
from resources.arrivals import Sources
from resources.encoders import Checkpoints
from resources.environments import AWS, ROOT, Settings, object_options, storage_options
from resources.experiments import Experiments
from resources.indexes import Indexes
from resources.lake import LakeIOManager
from resources.objects import ObjectStore
from resources.online import Online
from resources.published import Published
from resources.reports import Reports
from resources.warehouse import WarehouseResource


def by_name(options: Mapping[str, str]) -> dict[str, Any]:
    """Storage options whose keys are the names of their variables: Dagster stores what resources are made from."""
    return {name: dg.EnvVar(name) if name in AWS else value for name, value in options.items()}


def resources(here: Settings, *, in_clear: bool = False) -> dict[str, Any]:
    """The resources of every asset.

    Dagster stores what resources are made from and shows it: secrets are given by the names of their variables. Outside
    of Dagster, which reads these, they are `in_clear`; but for the keys of buckets, which remain names.
    """

    def secret(name: str) -> str | None:
        value = here.secrets.get(name)
        return value if in_clear or value is None else dg.EnvVar(f"CONVERGENCE_{name.upper()}")

    return {
        "lake": LakeIOManager(
            root=here.lake_root,
            storage_options=by_name(storage_options(here)),
            traces=str(here.home / "traces"),
            collector=secret("otlp"),
            home=str(here.home),
            check_reads=here.check_reads == "on",
        ),
        "sources": Sources(inbox=str(here.home / "inbox"), kafka=here.kafka),
        "published": Published(
            folder=str(here.data or ROOT.parent / "shared" / "data"),
            instead={"creditcard": str(here.creditcard)} if here.creditcard else {},
        ),
        "online": Online(url=secret("redis"), home=str(here.home)),
        "warehouse": WarehouseResource(
            engine=here.warehouse,
            file=str(here.home / "warehouse" / "warehouse.duckdb"),
            url=secret("postgres"),
        ),
        "objects": ObjectStore(
            root=here.objects_root,
            storage_options=by_name(object_options(here)),
            published=str(here.published_data) if here.published_data else None,
            hosts=[host for each in here.image_hosts.split(",") if (host := each.strip())],
        ),
        "checkpoints": Checkpoints(
            text=here.text_encoder,
            code=here.code_encoder,
            image=here.image_encoder,
            precision=here.encoder_precision,
        ),
        "indexes": Indexes(
            home=str(here.home),
            server=here.qdrant,
            key=secret("qdrant_key"),
        ),
        "reports": Reports(home=str(here.home)),
        "alerts": Alerts(
            home=str(here.home),
            webhook=secret("alert_webhook"),
            warnings=here.alert_on == "warn",
            ui=here.ui,
        ),
        "experiments": Experiments(
            tracking_uri=secret("mlflow_url") or here.tracking_uri,
            artifacts=here.artifacts,
        ),
    }
