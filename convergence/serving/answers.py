"""The answers of the service, as its OpenAPI page shows them."""

from typing import Any

from pydantic import BaseModel, ConfigDict, Field


class Problem(BaseModel):
    """What went wrong and what to do."""

    code: str = Field(description="Stable; for programs", examples=["invalid_request"])
    message: str
    next: str


class Failure(BaseModel):
    """Every error has this form."""

    error: Problem


class State(BaseModel):
    """What the features had consumed: everything up to this version of the table."""

    namespace: str | None
    table: str = Field(examples=["fraud/raw_transactions"])
    generation: int
    version: int = Field(description="Delta version; its log has the offsets of every partition")
    newest_event: str
    exact_from: str = Field(description="Earlier transactions are answered from what is left, and marked degraded")


class About(BaseModel):
    """Where an answer came from."""

    model_config = ConfigDict(protected_namespaces=())

    request_id: str
    model_version: str | None = Field(description="Who answered: the champion, or the challenger that is tried")
    release: int | None = Field(description="Number of the release record; 0: none, the newest promotion serves")
    view: str
    fingerprint: str = Field(description="Of the feature view's declaration and schema")
    state: State | None
    degraded: bool = Field(description="Features are defaults: what the view gives for a new entity")
    degraded_reason: str | None


class Reason(BaseModel):
    """A feature that raises the score, or lowers it least."""

    feature: str = Field(examples=["terminal_fraud_rate_7d"])
    value: float | None = Field(description="As the model saw it; null is missing", examples=[0.25])
    shap: float = Field(description="What it adds to the log odds of the trees", examples=[1.31])
    words: str = Field(
        examples=["Share of fraud at the terminal over 7 days of known labels: 0.25 (raises the log odds by 1.31)"]
    )


class Score(BaseModel):
    """The score of a row, beside the row's key."""

    model_config = ConfigDict(extra="allow")

    score: float = Field(ge=0, le=1, examples=[0.0132])
    cache_hit: bool = Field(description="Whether every entity of the row was known")
    reasons: list[Reason] | None = Field(None, description="The five strongest, where they were asked for")


class ScoreAnswer(About):
    """Scores in the order of the request."""

    scores: list[Score]


class FeatureRow(BaseModel):
    """Features of a row, beside the row's key; null is missing."""

    model_config = ConfigDict(extra="allow")

    features: dict[str, float | None]
    cache_hit: bool


class FeatureAnswer(About):
    """Features in the order of the request."""

    rows: list[FeatureRow]


class Health(BaseModel):
    """Whether the service can be used, and why not."""

    model_config = ConfigDict(protected_namespaces=())

    usable: bool
    model_version: str | None
    release: int | None
    canary: dict[str, Any] | None = Field(
        description="The challenger that is tried, its share, and what its guards found",
        examples=[{"model_version": "2018-08-29.fa8e5a54", "share": 0.05, "verdict": None}],
    )
    state: dict[str, Any] | None
    problems: list[str]
