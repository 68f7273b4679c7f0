"""Cloud Storage's rules: a create-only upload creates, and a bucket has a location.

With ifGenerationMatch=0 a request succeeds only while the object has no live version, else it is
412, resumable uploads included; of two that finish at once one wins
(https://cloud.google.com/storage/docs/request-preconditions). fake-gcs-server ignores it on
resumable uploads. A bucket lies in the US unless it is created elsewhere
(https://cloud.google.com/storage/docs/json_api/v1/buckets); fake-gcs-server says US-CENTRAL1.
"""

from __future__ import annotations

import json
import re
from dataclasses import dataclass
from typing import TYPE_CHECKING
from urllib.parse import parse_qs, quote, urlsplit

from proxy import Call, Reply

if TYPE_CHECKING:
    from rules import Rules


@dataclass
class _Upload:
    """A resumable upload that must create its object."""

    key: str
    target: str
    answer: Reply | None = None  # to its last request, once that has arrived


class CloudStorage:
    """Cloud Storage's rule."""

    def __init__(self, rules: Rules) -> None:
        self.rules, self.wait_here = rules, rules.wait_here
        self._uploads: dict[str, _Upload] = {}

    def answer(self, call: Call) -> Reply:
        path, _, query = call.path.partition("?")
        parameters = {k: v[0] for k, v in parse_qs(query).items()}
        upload = self._uploads.get(parameters.get("upload_id", ""))
        if upload and _is_last(call.headers.get("Content-Range", "")):
            return self._finish(call, upload)
        reply = call.forward()
        own, theirs = call.server.url, call.server.upstream
        reply.headers = [(k, v.replace(theirs, own)) for k, v in reply.headers]
        if not path.startswith("/download/"):  # links to objects, in their descriptions
            reply.body = reply.body.replace(theirs.encode(), own.encode())
        if call.command == "GET" and (match := re.fullmatch(r"/storage/v1/b/([^/]+)", path)):
            reply = self._located(reply, match[1])
        location = dict(reply.headers).get("Location", "")
        if (
            parameters.get("uploadType") == "resumable"
            and parameters.get("ifGenerationMatch") == "0"
        ):
            begun = {k: v[0] for k, v in parse_qs(urlsplit(location).query).items()}
            if "upload_id" in begun:
                bucket, name = path.split("/")[-2], begun["name"]
                target = f"/storage/v1/b/{bucket}/o/{quote(name, safe='')}"
                self._uploads[begun["upload_id"]] = _Upload(f"{bucket}/{name}", target)
        return reply

    def _located(self, reply: Reply, bucket: str) -> Reply:
        """Return the description of a bucket with its location."""
        if reply.status != 200 or not reply.body:
            return reply
        description = json.loads(reply.body) | {"location": self.rules.location_of(bucket)}
        return Reply.of_json(200, description)

    def _finish(self, call: Call, upload: _Upload) -> Reply:
        with self.rules.lock(upload.key):
            if upload.answer is not None:  # its answer was lost: the client repeats the request
                return upload.answer
            if call.server.ask("GET", upload.target)[0] == 200:
                return Reply.error(412, "conditionNotMet", "A pre-condition did not hold")
            reply = call.forward()
            if reply.status == 200:
                upload.answer = reply
            return reply


def _is_last(content_range: str) -> bool:
    """Return whether this request ends its upload: `bytes 0-9/10` and `bytes */10` do."""
    match = re.fullmatch(r"bytes (?:\d+-(\d+)|\*)/(\d+)", content_range)
    return bool(match) and (match[1] is None or int(match[1]) + 1 == int(match[2]))
