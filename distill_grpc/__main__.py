"""`python -m distill_grpc` is the `distill` command."""

from distill_grpc.cli.main import run

if __name__ == "__main__":
    run()
