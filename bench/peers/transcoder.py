"""The configuration of Envoy as a plain gRPC-JSON transcoder: the least that gives the same answers.

No Lua, no access log, no limits: what stands in `envoy/` does more, and costs more.
"""

from __future__ import annotations

import base64
from collections.abc import Sequence
from typing import Any

from google.protobuf.descriptor import FileDescriptor
from google.protobuf.descriptor_pb2 import FileDescriptorSet

from distill_grpc.proto import contract

_EXTENSIONS = "type.googleapis.com/envoy.extensions"
_FILTERS = f"{_EXTENSIONS}.filters"


def configuration(port: int, cores: Sequence[int]) -> dict[str, Any]:
    """Envoy's bootstrap: REST on `port` of the loopback interface, calls in turn to all `cores`."""
    transcoder = {
        "@type": f"{_FILTERS}.http.grpc_json_transcoder.v3.GrpcJsonTranscoder",
        "proto_descriptor_bin": base64.b64encode(_descriptors()).decode(),
        "services": [
            # Those of lists at the top level need what `envoy/` adds.
            service.full_name
            for service in contract.services()
            if service.file.package == "distill.v1"
        ],
        "print_options": {
            "always_print_primitive_fields": True,
            "preserve_proto_field_names": True,
        },
    }
    manager = {
        "@type": f"{_FILTERS}.network.http_connection_manager.v3.HttpConnectionManager",
        "stat_prefix": "rest",
        "route_config": {
            "virtual_hosts": [
                {
                    "name": "all",
                    "domains": ["*"],
                    "routes": [{"match": {"prefix": "/"}, "route": {"cluster": "core"}}],
                }
            ]
        },
        "http_filters": [
            {"name": "transcoder", "typed_config": transcoder},
            {
                "name": "router",
                "typed_config": {"@type": f"{_FILTERS}.http.router.v3.Router"},
            },
        ],
    }
    protocol = {
        "@type": f"{_EXTENSIONS}.upstreams.http.v3.HttpProtocolOptions",
        "explicit_http_config": {"http2_protocol_options": {}},
    }
    filters = [{"name": "manager", "typed_config": manager}]
    return {
        "static_resources": {
            "listeners": [
                {
                    "name": "rest",
                    "address": _address(port),
                    "filter_chains": [{"filters": filters}],
                }
            ],
            "clusters": [
                {
                    "name": "core",
                    "type": "STATIC",
                    "connect_timeout": "5s",
                    "typed_extension_protocol_options": {
                        "envoy.extensions.upstreams.http.v3.HttpProtocolOptions": protocol
                    },
                    "load_assignment": {
                        "cluster_name": "core",
                        "endpoints": [
                            {
                                "lb_endpoints": [
                                    {"endpoint": {"address": _address(core)}} for core in cores
                                ]
                            }
                        ],
                    },
                }
            ],
        }
    }


def _address(port: int) -> dict[str, Any]:
    return {"socket_address": {"address": "127.0.0.1", "port_value": port}}


def _descriptors() -> bytes:
    """The contract with everything that it imports, each file after those that it needs."""
    found: dict[str, FileDescriptor] = {}

    def add(file: FileDescriptor) -> None:
        for needed in file.dependencies:
            add(needed)
        found.setdefault(file.name, file)

    for service in contract.services():
        add(service.file)
    files = FileDescriptorSet()
    for file in found.values():
        file.CopyToProto(files.file.add())
    return files.SerializeToString()
