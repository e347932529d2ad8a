# One image for every role; the command chooses: `distill core`, `facade`, `worker`, `migrate`, `serve`.

FROM python:3.13.7-slim-bookworm AS build
WORKDIR /build
# What builds the wheel is locked too; none of it is in the image that runs.
COPY requirements.lock ./
RUN python -m venv /tools \
    && /tools/bin/pip install --no-cache-dir --only-binary=:all: --require-hashes -r requirements.lock
COPY deploy/requirements.lock ./deploy/
RUN python -m venv /opt/distill \
    && /opt/distill/bin/pip install --no-cache-dir --only-binary=:all: --require-hashes -r deploy/requirements.lock
COPY pyproject.toml README.md ./
COPY distill_grpc ./distill_grpc
COPY http_facade ./http_facade
RUN /tools/bin/pip wheel --no-cache-dir --no-deps --no-build-isolation --wheel-dir /wheels . \
    && /opt/distill/bin/pip install --no-cache-dir --no-deps --no-index /wheels/*.whl

FROM python:3.13.7-slim-bookworm
COPY --from=build /opt/distill /opt/distill
RUN useradd --uid 10001 --no-create-home --home-dir /data distill \
    && install -d -o distill -g distill -m 700 /data
ENV PATH=/opt/distill/bin:$PATH \
    PYTHONUNBUFFERED=1 \
    PYTHONDONTWRITEBYTECODE=1 \
    DISTILL_DATA_DIR=/data \
    DISTILL_HTTP_ADDRESS=0.0.0.0:8080 \
    DISTILL_GRPC_ADDRESS=0.0.0.0:50051
USER 10001:10001
WORKDIR /data
VOLUME /data
EXPOSE 8080 50051
# For `serve` and `facade`; compose.yaml says how a core is asked.
HEALTHCHECK --interval=5s --timeout=3s --start-period=60s --retries=3 \
    CMD ["python", "-c", "import urllib.request; urllib.request.urlopen('http://127.0.0.1:8080/health', timeout=2)"]
STOPSIGNAL SIGTERM
CMD ["distill", "serve"]
