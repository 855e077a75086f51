"""Read what a collector was sent, with OpenTelemetry's own package for OTLP.

    python spans.py < bodies

Each line is a request's body in base64. Prints all spans as JSON, or ends with 1 where a body is no
message of OTLP or has members that OTLP does not know.
"""

import base64
import json
import sys

from opentelemetry.proto.collector.trace.v1.trace_service_pb2 import ExportTraceServiceRequest
from opentelemetry.proto.trace.v1.trace_pb2 import Span, Status


def pairs(attributes):
    return {
        pair.key: getattr(pair.value, pair.value.WhichOneof("value")) for pair in attributes
    }


def read(body):
    request = ExportTraceServiceRequest.FromString(body)
    size = request.ByteSize()
    request.DiscardUnknownFields()
    if request.ByteSize() != size:
        sys.exit("a member that OTLP does not know")
    for resource in request.resource_spans:
        for scope in resource.scope_spans:
            for span in scope.spans:
                yield {
                    "service": pairs(resource.resource.attributes),
                    "scope": scope.scope.name,
                    "trace": span.trace_id.hex(),
                    "span": span.span_id.hex(),
                    "parent": span.parent_span_id.hex(),
                    "state": span.trace_state,
                    "flags": span.flags,
                    "name": span.name,
                    "kind": Span.SpanKind.Name(span.kind),
                    "start": span.start_time_unix_nano,
                    "end": span.end_time_unix_nano,
                    "attributes": pairs(span.attributes),
                    "events": [event.name for event in span.events],
                    "links": [[link.trace_id.hex(), link.span_id.hex()] for link in span.links],
                    "status": Status.StatusCode.Name(span.status.code),
                }


bodies = [base64.b64decode(line) for line in sys.stdin if line.strip()]
print(json.dumps([span for body in bodies for span in read(body)]))
