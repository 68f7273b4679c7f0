"""A fixed list of malformed push messages."""

import base64
import gzip
import json
from collections.abc import Iterator

from pushes import (
    EVENT,
    HEADERS,
    MAX_BODY,
    PREDICTIONS,
    REQUEST,
    STORAGE,
    Push,
    event,
    filled,
    nested,
    request_for,
    wrapped,
)

ENVELOPES = {
    "empty": b"",
    "a space": b" ",
    "NUL": b"\x00",
    "no UTF-8": b'{"message": {"data": "\xff\xfe"}}',
    "UTF-16 with no end": b"\xff\xfe{",
    "a form": b"eventType=OBJECT_FINALIZE&objectId=a",
    "XML": b"<message/>",
    "cut off": b'{"message": {"attributes": {',
    "two documents": b"{} {}",
    "a comma too many": b'{"message": {},}',
    "gzip": gzip.compress(b'{"message": {}}', mtime=0),
    "null": b"null",
    "true": b"true",
    "a number": b"-0.0",
    "NaN": b"NaN",
    "infinity": b'{"message": -Infinity}',
    "a number of 5,000 digits": b'{"message": ' + b"9" * 5_000 + b"}",
    "a number that overflows": b'{"message": 1e999999}',
    "text": b'"message"',
    "an array": b"[]",
    "an array of messages": b'[{"message": {}}]',
    "no message": b"{}",
    "another spelling": b'{"Message": {}}',
    "a message that is null": b'{"message": null}',
    "a message that is text": b'{"message": "{}"}',
    "a message that is an array": b'{"message": [{}]}',
    "a message twice, the last null": b'{"message": {}, "message": null}',
    "attributes that are text": wrapped("eventType"),
    "attributes that are pairs": wrapped([["eventType", "OBJECT_FINALIZE"]]),
    "an attribute that is a number": wrapped(EVENT | {"generation": 10**30}),
    "an attribute that is null": wrapped(EVENT | {"objectId": None}),
    "an attribute that is NaN": wrapped(EVENT | {"objectId": float("nan")}),
    "an attribute that is an array": wrapped(EVENT | {"bucketId": ["mlsys-models-dev"]}),
    "data that is not base64": wrapped(EVENT, "%%%"),
    "data without padding": wrapped(EVENT, "YQ"),
    "data of the URL alphabet": wrapped(EVENT, "-_-_"),
    "data of other letters": wrapped(EVENT, "ä"),
    "data that is a lone surrogate": wrapped(EVENT, "\ud800"),
    "data that is a number": wrapped(EVENT, 5),
    "data that is an object": wrapped(EVENT, {"a": 1}),
    "attributes 10,000 levels deep": f'{{"message": {{"attributes": {nested(10_000)}}}}}'.encode(),
    "open 500,000 times": b"[" * 500_000,
    "objects 10,000 levels deep": b'{"message":' * 10_000 + b"1" + b"}" * 10_000,
    "as much as there may be": filled(MAX_BODY),
}

# Understood or not, none of these may stop the service.
EITHER = {
    f"a subscription {levels} levels deep": b'{"subscription": %s, "message": %s}'
    % (nested(levels).encode(), json.dumps({"attributes": EVENT}).encode())
    for levels in (100, 900, 990, 2_000, 3_000, 5_000, 9_000, 9_990, 10_000)
} | {
    "a subscription that is a lone surrogate": b'{"subscription": "\\ud800", "message": {}}',
    "a subscription of half a megabyte": wrapped(EVENT, subscription="s" * 500_000),
    "more attributes than Pub/Sub lets": wrapped(EVENT | {f"a{i}": "x" for i in range(20_000)}),
}

STORAGE_MALFORMED = {
    "no attributes": b'{"message": {"data": ""}}',
    "attributes that are null": wrapped(None),
    "eventType missing": event(eventType=...),
    "bucketId missing": event(bucketId=...),
    "objectId missing": event(objectId=...),
    "another case": wrapped({k.lower(): v for k, v in EVENT.items()}),
    "the payload alone": wrapped({}, base64.b64encode(json.dumps(EVENT).encode()).decode()),
}

STORAGE_IRRELEVANT = {
    "an unknown event": event(eventType="OBJECT_EXPLODE"),
    "an event without a name": event(eventType=""),
    "an event of 300,000 letters": event(eventType="E" * 300_000),
    "another environment's bucket": event(bucketId="mlsys-models-prod"),
    "another bucket": event(bucketId="somebody-elses"),
    "a bucket of unusual characters": event(bucketId="\ud800\x00\n../" * 50),
    "a bucket without a name": event(bucketId=""),
    "the folder above": event(objectId="../../v1/model.pkl"),
    "the folder above as the version": event(objectId="never-uploaded/../model.pkl"),
    "folders": event(objectId="a/b/c/d/model.pkl"),
    "a slash more": event(objectId="/never-uploaded/v1/model.pkl"),
    "unusual characters": event(objectId="\ud800\udfff\x00\r\n\u202e/v1/model.pkl"),
    "a line break behind": event(objectId="never-uploaded/v1/model.pkl\n"),
    "other digits": event(objectId="never-uploaded/v١/model.pkl"),
    "a very long name": event(objectId="a" * 64 + "/v1/model.pkl"),
    "a name of 900,000 letters": event(objectId="a" * 900_000),
    "a version of 5,000 digits": event(objectId=f"never-uploaded/v{'9' * 5_000}/model.pkl"),
    "a format of the log": event(objectId="%s%d%(name)s{0}"),
    "no model's file": event(objectId="never-uploaded/v1/notes.md"),
    "a generation that is text": event(objectGeneration="latest"),
    "no such model": event(),
    "an attribute twice, the last good": event().replace(
        b'"objectId":', b'"objectId": 1, "objectId":'
    ),
}

PREDICTIONS_MALFORMED = {
    "a part twice, the last good": request_for(
        json.dumps(REQUEST).replace('"env":', '"env": 1, "env":').encode()
    ),
    "no data": b'{"message": {}}',
    "data of nothing": request_for(b""),
    "data of NUL": request_for(b"\x00"),
    "data that is not UTF-8": request_for(b'{"env": "\xff"}'),
    "data of a lone surrogate": request_for(b'{"env": "\\ud800"}'),
    "data that is an array": request_for([REQUEST]),
    "data that is null": request_for(None),
    "data 10,000 levels deep": request_for(nested(10_000).encode()),
    "data of 5,000 digits": request_for(b"9" * 5_000),
    "an empty request": request_for({}),
    "an unknown part": request_for(REQUEST | {"unheard": "of"}),
    "8,000 unknown parts": request_for(REQUEST | {f"part{i}": i for i in range(8_000)}),
    "another environment": request_for(REQUEST | {"env": "prod"}),
    "an unheard environment": request_for(REQUEST | {"env": "moon"}),
    "an environment that is NaN": request_for(REQUEST | {"env": float("nan")}),
    "a table that is an object": request_for(REQUEST | {"input_table": {"a": 1}}),
    "a table of unusual characters": request_for(
        REQUEST | {"input_table": "mlsys-local.a.`b`; DROP"}
    ),
    "a table of half a megabyte": request_for(REQUEST | {"input_table": "a" * 500_000}),
    "another project's table": request_for(REQUEST | {"input_table": "other-project.a.b"}),
    "the registry as the output": request_for(
        REQUEST | {"output_table": "mlsys-local.mlsys_dev.model_registry"}
    ),
    "onto itself": request_for(REQUEST | {"output_table": REQUEST["input_table"]}),
    "the folder above as the model": request_for(REQUEST | {"model_name": "../x"}),
    "a version that is a number": request_for(REQUEST | {"model_version": 1}),
    "a run of unusual characters": request_for(REQUEST | {"run_id": "../../x"}),
    "a condition that is not text": request_for(REQUEST | {"where": {"a": 1}}),
    "a condition that is too long": request_for(REQUEST | {"where": "a" * 10_001}),
    "more rejects than there is": request_for(REQUEST | {"max_rejects": "9" * 400}),
    "dry_run": request_for(REQUEST | {"dry_run": True}),
    "dry_run that is a list": request_for(REQUEST | {"dry_run": []}),
}

PREDICTIONS_UNDERSTOOD = {
    "no such table": request_for(REQUEST),
    "no such model": request_for(REQUEST | {"input_table": "mlsys-local.titanic.test"}),
    "a condition of unusual characters": request_for(REQUEST | {"where": "\x00\u202e' OR 1=1 --"}),
}


def corpus() -> Iterator[Push]:
    """Yield the fixed list, for both routes."""
    for path in (STORAGE, PREDICTIONS):
        for name, body in ENVELOPES.items():
            yield Push(name, path, body)
        for name, body in EITHER.items():
            yield Push(name, path, body, kept=None)
        for name, headers in HEADERS.items():
            yield Push(f"{name}, malformed", path, b"{" + name.encode(), headers=headers)
        for size in (0, 1, MAX_BODY):
            yield Push(f"{size} bytes in chunks", path, filled(size)[:size], chunked=True)
        for chunked in (False, True):
            body = filled(MAX_BODY + 1)
            yield Push("a byte too many", path, body, False, 413, chunked=chunked)
        for size in (MAX_BODY + 2, 2**40, 2**70):
            yield Push(f"{size} bytes announced", path, b"{", False, 413, announced=size)
        for method in ("GET", "PUT", "DELETE", "PATCH"):
            yield Push(method, path, b"{}", False, 405, method=method)
    for name, body in STORAGE_MALFORMED.items():
        yield Push(name, STORAGE, body)
    for name, body in STORAGE_IRRELEVANT.items():
        yield Push(name, STORAGE, body, kept=False)
    for name, headers in HEADERS.items():
        yield Push(name, STORAGE, event(name=name), kept=False, headers=headers)
    for name, body in PREDICTIONS_MALFORMED.items():
        yield Push(name, PREDICTIONS, body)
    for name, body in PREDICTIONS_UNDERSTOOD.items():
        yield Push(name, PREDICTIONS, body, kept=False)
