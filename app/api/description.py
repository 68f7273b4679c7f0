"""Corrections to the description that flask-openapi3 gives in `GET /openapi.json`."""

from __future__ import annotations

from typing import Any

from flask.json.provider import DefaultJSONProvider
from flask_openapi3 import OpenAPI
from pydantic import BaseModel

from workers.json_values import json_value


class Json(DefaultJSONProvider):
    """RFC 8259 JSON of any value of BigQuery: Flask writes NaN, and dates of HTTP."""

    def dumps(self, obj: Any, **kwargs: Any) -> str:
        """Return the text."""
        return super().dumps(json_value(obj), allow_nan=False, **kwargs)


class Description(OpenAPI):
    """flask-openapi3 that describes a 400 only as the route itself does."""

    json_provider_class = Json

    def generate_spec_json(self) -> None:
        """Leave out the 400 that it gives every route: no route answers with that array."""
        super().generate_spec_json()
        for path in self.spec_json["paths"].values():
            for operation in path.values():
                about = operation["responses"].get(self.validation_error_status, {})
                if "application/json" in about.get("content", {}):
                    del operation["responses"][self.validation_error_status]


def as_passed(schema: dict[str, Any], model: type[BaseModel]) -> None:
    """Describe query parameters as the texts that are passed.

    An optional parameter has one type, without null; its description is beside its name, where
    readers look; its default is the text that a caller would pass.
    """
    for name, about in schema["properties"].items():
        kinds = [kind for kind in about.pop("anyOf", []) if kind != {"type": "null"}]
        if len(kinds) == 1:
            about |= kinds[0] | about
        if "default" not in about:
            continue
        default = model.model_fields[name].default
        if default is None:
            del about["default"]
        elif isinstance(default, tuple):
            about["default"] = ",".join(default)
        elif not isinstance(default, str | int):
            about["default"] = str(default)
