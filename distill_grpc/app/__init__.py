"""The composition root: the only package that knows everybody.

`parts` opens what everything stands on, `guards` what keeps callers in bounds, `serving` puts the core
and its doors together, `working` the work of a worker, and `roles` runs them as processes.
"""

from __future__ import annotations

from distill_grpc.app.parts import VERSION, Parts, open_parts
from distill_grpc.app.roles import run_core, run_facade, run_node, run_worker
from distill_grpc.app.serving import core, facade, grpc_server, local_transport
from distill_grpc.app.working import build_collector

__all__ = [
    "VERSION",
    "Parts",
    "build_collector",
    "core",
    "facade",
    "grpc_server",
    "local_transport",
    "open_parts",
    "run_core",
    "run_facade",
    "run_node",
    "run_worker",
]
