"""The OpenAPI document is complete enough to generate clients."""

import json
from collections.abc import Iterator
from typing import Any

import httpx
import jsonschema_rs
import pytest
from fastapi import FastAPI

from graphs.api.problems import MEDIA_TYPE, PROBLEMS
from graphs.api.routes import router

OPEN = {"/memory/health"}
METHODS = ("GET", "POST", "PUT", "PATCH", "DELETE")


@pytest.fixture(scope="module")
def app() -> FastAPI:
    app = FastAPI()
    app.include_router(router)
    return app


@pytest.fixture(scope="module")
def document(app: FastAPI) -> dict[str, Any]:
    return json.loads(json.dumps(app.openapi()))  # type: ignore[no-any-return]


def operations(document: dict[str, Any]) -> Iterator[tuple[str, str, dict[str, Any]]]:
    for path, methods in document["paths"].items():
        for method, operation in methods.items():
            yield path, method.upper(), operation


def examples_of(content: dict[str, Any], document: dict[str, Any]) -> list[Any]:
    """Return the examples of a content: its own, or those of its model."""
    schema = content.get("schema", {})
    model = document["components"]["schemas"].get(schema.get("$ref", "").rpartition("/")[2], schema)
    return [content["example"]] if "example" in content else list(model.get("examples", []))


def test_every_body_and_every_answer_has_an_example_that_fits(document: dict[str, Any]) -> None:
    for path, method, operation in operations(document):
        told = [operation.get("requestBody", {"content": {}}), *operation["responses"].values()]
        for media_type, content in (
            pair for each in told for pair in each.get("content", {}).items()
        ):
            examples = examples_of(content, document)
            assert examples, f"{method} {path} {media_type}"
            for example in examples:
                jsonschema_rs.validate(
                    content["schema"] | {"components": document["components"]}, example
                )


def test_operations_have_names_tags_and_words_of_their_own(document: dict[str, Any]) -> None:
    names = [operation["operationId"] for _, _, operation in operations(document)]
    assert len(set(names)) == len(names)
    assert all(name.isidentifier() for name in names)
    for path, method, operation in operations(document):
        assert len(operation["tags"]) == 1, f"{method} {path}"
        assert operation["description"], f"{method} {path}"


def test_every_route_for_people_says_how_they_sign_in_and_what_they_are_refused(
    document: dict[str, Any],
) -> None:
    for path, method, operation in operations(document):
        if path in OPEN:
            continue
        assert len(operation["security"]) == 2, f"{method} {path}"
        statuses = {"401", "403", "422", "429", "503"} | (
            {"413", "415"} if "requestBody" in operation else set()
        )
        assert statuses <= operation["responses"].keys(), f"{method} {path}"
        for status, answer in operation["responses"].items():
            if int(status) in PROBLEMS:
                assert MEDIA_TYPE in answer["content"], f"{method} {path} {status}"


async def test_what_is_not_documented_is_not_allowed(
    app: FastAPI, document: dict[str, Any]
) -> None:
    async with httpx.AsyncClient(
        transport=httpx.ASGITransport(app), base_url="http://memory"
    ) as http:
        for path, methods in document["paths"].items():
            for method in set(METHODS) - {known.upper() for known in methods}:
                answer = await http.request(method, path.replace("{", "").replace("}", ""))
                assert (answer.status_code, bool(answer.headers["Allow"])) == (405, True), (
                    f"{method} {path}"
                )
