"""A collector of OpenTelemetry that takes what the protocol allows and nothing else: JSON documents are read into the messages of the
`opentelemetry-proto` package, and whatever those do not know fails the test."""

import base64
import json
import re
import threading

from google.protobuf import json_format
from opentelemetry.proto.collector.metrics.v1.metrics_service_pb2 import ExportMetricsServiceRequest
from opentelemetry.proto.collector.trace.v1.trace_service_pb2 import ExportTraceServiceRequest

from scripted import ScriptedProvider, reply

IDS = {"traceId": 32, "spanId": 16, "parentSpanId": 16}
LONG = {"startTimeUnixNano", "endTimeUnixNano", "timeUnixNano", "intValue", "asInt", "count"}


def checked(node):
    """The document with its ids in base64, as the library wants them; they are hexadecimal in OTLP. Whole numbers of 64 bits are texts,
    and kinds and codes numbers."""
    if isinstance(node, list):
        return [checked(one) for one in node]
    if not isinstance(node, dict):
        return node
    result = {}
    for name, value in node.items():
        if name in IDS:
            assert re.fullmatch(r"[0-9a-f]{%d}" % IDS[name], value) and set(value) != {"0"}, (name, value)
            value = base64.b64encode(bytes.fromhex(value)).decode()
        elif name in LONG:
            assert isinstance(value, str) and re.fullmatch(r"-?\d+", value), (name, value)
        elif name == "bucketCounts":
            assert all(isinstance(one, str) for one in value)
        elif name in ("kind", "code", "aggregationTemporality"):
            assert isinstance(value, int), (name, value)
        else:
            value = checked(value)
        result[name] = value
    return result


def attributes(owner):
    """The properties as a dict; each name once."""
    found = {}
    for one in owner.attributes:
        assert one.key not in found, one.key
        found[one.key] = getattr(one.value, one.value.WhichOneof("value"))
    return found


class Span:
    def __init__(self, proto):
        self.proto = proto
        self.trace, self.id, self.parent = proto.trace_id.hex(), proto.span_id.hex(), proto.parent_span_id.hex()
        self.name, self.kind = proto.name, proto.kind
        self.start, self.end = proto.start_time_unix_nano, proto.end_time_unix_nano
        self.attributes = attributes(proto)
        self.is_error = proto.status.code == 2

    def __repr__(self):
        return f"<{self.name} {self.attributes}>"


SERVER, CLIENT, INTERNAL = 2, 3, 1


class Collector(ScriptedProvider):
    """Answers what `answers` says, one after the other, and 200 after that. What it refuses it has not taken."""

    def __init__(self, *answers, port=0):
        self.answers = list(answers)
        self.lock = threading.Lock()
        self.documents, self.faults = [], []
        super().__init__(self.serve, port)

    def serve(self, received, connection):
        with self.lock:
            answer = self.answers.pop(0) if self.answers else reply(body=b'{"partialSuccess":{}}')
        if callable(answer):
            answer = answer(connection)
        taken = answer is not None and answer.startswith(b"HTTP/1.1 2")
        try:
            fields = {name.lower(): value for name, value in received.fields}
            assert fields["content-type"] == "application/json" and received.method == "POST"
            kind = {"/v1/traces": ExportTraceServiceRequest, "/v1/metrics": ExportMetricsServiceRequest}[received.target]
            document = json_format.ParseDict(checked(json.loads(received.body)), kind())
        except Exception as fault:  # noqa: BLE001 - told by `spans` and `metrics`
            self.faults.append(repr(fault))
        else:
            if taken:
                self.documents.append(document)
        return answer

    def of(self, kind):
        assert not self.faults, self.faults
        return [one for one in self.documents if isinstance(one, kind)]

    def spans(self):
        found = []
        for document in self.of(ExportTraceServiceRequest):
            for owner in document.resource_spans:
                resource = attributes(owner.resource)
                assert resource["service.name"] == "tollgate" and resource["service.instance.id"] and resource["service.version"]
                for scope in owner.scope_spans:
                    assert scope.scope.name == "tollgate"
                    found += [Span(span) for span in scope.spans]
        assert len({span.id for span in found}) == len(found)
        return found

    def calls(self):
        """Each call's own span with its children, in the order of their beginnings."""
        spans = self.spans()
        roots = sorted((span for span in spans if span.kind == SERVER), key=lambda span: span.start)
        return [(root, sorted((span for span in spans if span.parent == root.id), key=lambda span: (span.start, span.end))) for root in roots]

    def metrics(self):
        """The newest reading: points by the metric's name."""
        documents = self.of(ExportMetricsServiceRequest)
        found = {}
        for metric in (metric for owner in documents[-1].resource_metrics for scope in owner.scope_metrics for metric in scope.metrics):
            data = getattr(metric, metric.WhichOneof("data"))
            assert metric.name not in found and metric.description and metric.unit
            assert data.aggregation_temporality == 2
            found[metric.name] = list(data.data_points)
        return found
