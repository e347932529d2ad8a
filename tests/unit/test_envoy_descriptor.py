"""What is built of the contract for Envoy; these tests need no Envoy."""

from __future__ import annotations

import subprocess
import sys
from pathlib import Path

from google.api import annotations_pb2
from google.protobuf import descriptor_pb2, descriptor_pool

from distill_grpc.proto import contract
from tests.conformance.envoy import contracts
from tests.envoy_door import ROOT

BUILD = ROOT / "envoy" / "build_descriptor.py"


def built(folder: Path, *arguments: str) -> descriptor_pb2.FileDescriptorSet:
    subprocess.run(
        [sys.executable, BUILD, folder, *arguments], check=True, env={"PYTHONPATH": str(ROOT)}
    )
    raw = folder.joinpath("descriptors.binpb").read_bytes()
    return descriptor_pb2.FileDescriptorSet.FromString(raw)


def test_every_rpc_is_there_and_every_type_resolves(tmp_path: Path) -> None:
    image = built(tmp_path)
    pool = descriptor_pool.DescriptorPool()
    for file in image.file:
        pool.Add(file)
    for rpc in contract.rpcs():
        service = pool.FindServiceByName(rpc.service.full_name)
        assert service.methods_by_name[rpc.name].input_type.full_name
    assert pool.FindMessageTypeByName("google.rpc.ErrorInfo").full_name
    assert pool.FindMessageTypeByName("google.rpc.Status").full_name


def test_what_envoy_does_not_start_with_is_cleared(tmp_path: Path) -> None:
    path = contracts.write(tmp_path / "given.binpb")
    image = built(tmp_path / "built", "--descriptors", str(path))
    rules = [
        method.options.Extensions[annotations_pb2.http]
        for file in image.file
        for service in file.service
        for method in service.method
    ]
    assert len(rules) == len(contract.rpcs()) + 1
    assert not [rule for rule in rules if rule.response_body]
