"""The API's own description: what `GET /openapi.json` says, where flask-openapi3 says otherwise."""

from __future__ import annotations

from typing import Any

from flask.json.provider import DefaultJSONProvider
from flask_openapi3 import OpenAPI
from pydantic import BaseModel

from workers.json_values import json_value


class Json(DefaultJSONProvider):
    """JSON as RFC 8259 has it, of any value of BigQuery: Flask writes NaN, and dates of HTTP."""

    def dumps(self, obj: Any, **kwargs: Any) -> str:
        """Return the text."""
        return super().dumps(json_value(obj), allow_nan=False, **kwargs)


class Description(OpenAPI):
    """flask-openapi3, which says of a 400 only what the route itself says of it."""

    json_provider_class = Json

    def generate_spec_json(self) -> None:
        """Leave out the 400 that it gives every route: an array, of a type that nobody answers."""
        super().generate_spec_json()
        for path in self.spec_json["paths"].values():
            for operation in path.values():
                about = operation["responses"].get(self.validation_error_status, {})
                if "application/json" in about.get("content", {}):
                    del operation["responses"][self.validation_error_status]


def as_passed(schema: dict[str, Any], model: type[BaseModel]) -> None:
    """Describe query parameters as the texts that are passed.

    A parameter that may be left away is of one type, not of null as well; its description stands
    where readers of the document look, beside its name; its default is what one would write.
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
