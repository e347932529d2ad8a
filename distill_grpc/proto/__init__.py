"""The contract: what `protos/generate.py` wrote, and `contract.py`, which reads it."""
