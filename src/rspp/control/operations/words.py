"""The fields that many requests share, each with its bounds and the words that explain it in the API and on the command line."""

from __future__ import annotations

from typing import Annotated, Final

from msgspec import Meta

NAME_MAX: Final = 200

Tenant = Annotated[str, Meta(min_length=1, max_length=NAME_MAX, description="Whose.")]
SessionName = Annotated[str, Meta(min_length=1, max_length=NAME_MAX, description="Its name.")]
Name = Annotated[str, Meta(min_length=1, max_length=NAME_MAX, description="Its name.")]
PipelineName = Annotated[str, Meta(min_length=1, max_length=NAME_MAX, description="The pipeline's name.")]
Version = Annotated[str, Meta(min_length=1, max_length=64, description="Its version.")]
Worker = Annotated[str, Meta(min_length=1, max_length=NAME_MAX, description="The worker's name.")]
Reason = Annotated[str, Meta(min_length=1, max_length=400, description="Why; it is on record.")]
Text = Annotated[
    str, Meta(min_length=1, max_length=262_144, description="The document, as YAML.", extra={"file": True})
]
Limit = Annotated[int, Meta(ge=1, le=1_000, description="How many at most.")]
Deadline = Annotated[
    int,
    Meta(ge=100, le=120_000, description="For how long to wait for the worker's answer, in milliseconds."),
]
