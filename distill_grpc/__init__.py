"""The core of Distill: collects, keeps and digests content, and speaks gRPC."""
