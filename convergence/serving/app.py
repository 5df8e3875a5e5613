"""The HTTP face: routes and what they need. It is given everything that it talks to.

Handlers are plain functions, so that a slow store holds up its own request and not the others.
"""

from collections.abc import AsyncIterator, Callable, Collection, Sequence
from contextlib import asynccontextmanager
from typing import Annotated, Any

from fastapi import FastAPI, Request
from fastapi.responses import JSONResponse, Response
from pydantic import BaseModel, BeforeValidator, ConfigDict, Field, create_model

from convergence.serving.access import Access
from convergence.serving.answers import Failure, FeatureAnswer, Health, ScoreAnswer
from convergence.serving.bodies import Bodies
from convergence.serving.limits import Limits
from convergence.serving.metrics import scraped
from convergence.serving.problems import Refused
from convergence.serving.refusals import DESCRIBED, as_name, permitted, refusing
from convergence.serving.same_origin import SameOrigin
from convergence.serving.scoring import Scoring

MAX_ROWS = 1_000
MAX_BYTES = 1_000_000

_ABOUT = (
    "Scores with the features of this moment. `degraded: true` says that the features are defaults, because the online "
    "store did not answer in time; `cache_hit: false` that an entity of the row is new."
)


def create_app(
    scoring: Scoring,
    access: Access,
    row: type[BaseModel],
    *,
    hosts: Collection[str] = (),
    max_rows: int = MAX_ROWS,
    bodies: Bodies | None = None,
    on_stop: Sequence[Callable[[], None]] = (),
) -> FastAPI:
    """The service of one use case.

    Args:
        scoring: what answers.
        access: who may ask.
        row: a row of a request; its fields are columns of the view's source.
        hosts: names of the server besides those of loopback and its address.
        max_rows: in one request.
        bodies: their bounds; default: a megabyte each.
        on_stop: called in order when the server ends.
    """
    metrics, use_case, view = scoring.metrics, scoring.use_case, scoring.online.view
    reader, scorer = (permitted(access, metrics, role) for role in ("reader", "scorer"))

    @asynccontextmanager
    async def lifespan(_: FastAPI) -> AsyncIterator[None]:
        yield
        for stop in on_stop:
            stop()

    described: Any = {n: {"model": Failure, "description": said} for n, said in DESCRIBED.items()}
    app = FastAPI(title=f"Convergence: {use_case}", description=_ABOUT, lifespan=lifespan, responses=described)
    app.add_middleware(SameOrigin, hosts=hosts)
    bounds = bodies or Bodies(MAX_BYTES)
    app.add_middleware(Limits, bodies=bounds, observe=metrics.answered, tracer=scoring.tracer, who=access.who)
    refusing(app)

    def bounded(rows: Any) -> Any:
        if isinstance(rows, list) and len(rows) > max_rows:
            said = f"{len(rows):,} rows, at most {max_rows:,} in one request"
            raise Refused(413, "too_many_rows", said, "split them over several requests")
        return rows

    def given(rows: Sequence[BaseModel]) -> list[dict[str, Any]]:
        return [scoring.row(dict(one)) for one in rows]

    listed: Any = (Annotated[list[row], BeforeValidator(bounded)], Field(min_length=1, fail_fast=True))
    some = Field(None, max_length=len(view.features), description="Default: all", examples=[list(view.features[:2])])
    explained = Field(False, strict=True, description="Give the five strongest reasons of each score", examples=[True])
    strict = ConfigDict(extra="forbid")
    asked = create_model("ScoreRequest", __config__=strict, rows=listed, reasons=(bool, explained))
    named = create_model(
        "FeaturesRequest",
        __config__=strict,
        view=(str, Field(examples=[view.name])),
        features=(list[str] | None, some),
        rows=listed,
    )

    def score(body: Any, request: Request) -> Response:
        """Score rows with the model that is released, on features as of this moment."""
        return JSONResponse(scoring.score(given(body.rows), request.state.request_id, reasons=body.reasons))

    def features(body: Any, request: Request) -> Response:
        """Features of rows, as the model would see them."""
        if body.view != view.name:
            raise Refused(404, "unknown_view", f"no feature view {as_name(body.view)!r}", f"there is {view.name}")
        names = body.features or list(view.features)
        if unknown := [name for name in names if name not in view.features]:
            said = f"{view.name} has no feature {as_name(unknown[0])!r}"
            raise Refused(404, "unknown_feature", said, f"there are {', '.join(view.features)}")
        return JSONResponse(scoring.features(given(body.rows), names, request.state.request_id))

    def health() -> Response:
        """Whether scores can be given from real features: 503 when they cannot, with the reasons."""
        found = scoring.health()
        return JSONResponse(found, 200 if found["usable"] else 503)

    def prometheus(request: Request) -> Response:
        """Metrics for Prometheus; as OpenMetrics, with exemplars, where that is asked for."""
        serving, refused = scoring.champion.serving, scoring.champion.refused is not None
        release = serving.release if serving else None
        metrics.told(release, release and scoring.variants.run_of(release.model_version), refused=refused)
        return scraped(metrics.registry, request.headers.get("accept", ""))

    score.__annotations__["body"], features.__annotations__["body"] = asked, named
    route = app.router.add_api_route
    route(f"/v1/{use_case}/score", score, methods=["POST"], response_model=ScoreAnswer, route_class_override=scorer)
    route("/v1/features/get", features, methods=["POST"], response_model=FeatureAnswer, route_class_override=reader)
    route("/metrics", prometheus, methods=["GET"], route_class_override=reader)
    app.get("/health", response_model=Health)(health)
    return app
