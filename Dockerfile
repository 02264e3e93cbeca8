# All images from one file: `docker build --target api .`, and so on for the targets `worker`,
# `worker-gpu` and `load`; docs/containers.md has sizes and arguments.
ARG PYTHON_IMAGE=python:3.12-slim
ARG CUDA_IMAGE=nvidia/cuda:13.0.1-base-ubuntu24.04

FROM ${PYTHON_IMAGE} AS build
ENV PIP_NO_CACHE_DIR=1 PIP_DISABLE_PIP_VERSION_CHECK=1
RUN python3 -m venv /opt/blurline
ENV PATH=/opt/blurline/bin:$PATH
WORKDIR /src
COPY deploy/image.py constraints.txt pyproject.toml ./

# The dependencies come first, in a layer of their own, so that a change of code leaves it cached.
FROM build AS api-build
# Another package index than pip's own, for a build behind a mirror. No final image holds it.
ARG PIP_INDEX_URL
RUN python image.py requirements api --extras otel > requirements.txt \
    && pip install -c constraints.txt -r requirements.txt
COPY . .
# The weights and the command line are for those who have networks; nobody installs into an image.
RUN pip install --no-deps -c constraints.txt . \
    && python image.py trim \
    && rm -r /opt/blurline/lib/python3*/site-packages/blurline/models/weights /opt/blurline/bin/blurline \
    && pip uninstall --yes setuptools pip

FROM build AS worker-build
ARG PIP_INDEX_URL
RUN python image.py requirements worker --extras otel > requirements.txt \
    && pip install -c constraints.txt -r requirements.txt
COPY . .
RUN pip install --no-deps -c constraints.txt .

# The networks' files; the catalogue names each with its hash, and a file that differs ends the build.
FROM worker-build AS models
ARG PIP_INDEX_URL
RUN MODEL_DIR=/opt/models blurline models pull

FROM worker-build AS worker-trimmed
RUN python image.py trim && pip uninstall --yes setuptools pip

FROM ${PYTHON_IMAGE} AS runtime
RUN groupadd --gid 10001 blurline \
    && useradd --uid 10001 --gid 10001 --no-create-home --home-dir /nonexistent blurline
ENV PATH=/opt/blurline/bin:$PATH PYTHONUNBUFFERED=1 PYTHONDONTWRITEBYTECODE=1
# Python looks for modules in the working folder first, so it is one that the user cannot write to.
WORKDIR /app

FROM runtime AS api
COPY --from=api-build /opt/blurline /opt/blurline
# By number, so that Kubernetes can see that it is not root.
USER 10001:10001
# What uvicorn is told below: the API does not start on it unless it is said who may come in.
ENV HOST=0.0.0.0
EXPOSE 8000
HEALTHCHECK --interval=10s --timeout=6s --start-period=10s \
    CMD ["python", "-IS", "-c", "import urllib.request; urllib.request.urlopen('http://127.0.0.1:8000/health', timeout=5)"]
CMD ["uvicorn", "blurline.entry.api:app", "--host", "0.0.0.0", "--port", "8000", \
     "--http", "blurline.api.protocol:GuardedProtocol"]
ARG VERSION=0.1.0
ARG REVISION=unknown
LABEL org.opencontainers.image.title="blurline API" \
      org.opencontainers.image.description="Takes pictures in, queues them, hands the blurred ones out" \
      org.opencontainers.image.licenses="MIT" \
      org.opencontainers.image.version="${VERSION}" \
      org.opencontainers.image.revision="${REVISION}"

FROM runtime AS worker
COPY --from=worker-trimmed /opt/blurline /opt/blurline
COPY --from=models /opt/models /opt/models
USER 10001:10001
ENV MODEL_DIR=/opt/models WORKER_METRICS_HOST=0.0.0.0 WORKER_METRICS_PORT=9000
EXPOSE 9000
HEALTHCHECK --interval=10s --timeout=6s --start-period=30s \
    CMD ["python", "-IS", "-c", "import urllib.request; urllib.request.urlopen('http://127.0.0.1:9000/metrics', timeout=5)"]
# The list form makes Python process 1, so that it is the one that receives SIGTERM.
CMD ["python", "-m", "blurline.entry.worker"]
ARG VERSION=0.1.0
ARG REVISION=unknown
# Apache and BSD are those of weights that enlarge pictures or cut them out, the AGPL is that of
# YOLO11n's; the others are those of FFmpeg and of encoders in its wheel.
LABEL org.opencontainers.image.title="blurline worker" \
      org.opencontainers.image.description="Blurs faces and number plates in queued pictures, then lists the objects that are left" \
      org.opencontainers.image.licenses="MIT AND Apache-2.0 AND BSD-3-Clause AND AGPL-3.0-only AND LGPL-3.0-or-later AND GPL-2.0-or-later" \
      org.opencontainers.image.version="${VERSION}" \
      org.opencontainers.image.revision="${REVISION}"

# Locust with what its file in load-tests/ needs; compose mounts that folder.
FROM build AS load-build
ARG PIP_INDEX_URL
RUN pip install -c constraints.txt locust numpy pillow simplejpeg

FROM runtime AS load
COPY --from=load-build /opt/blurline /opt/blurline
USER 10001:10001
CMD ["locust", "--help"]

# On a GPU: the base brings what the NVIDIA runtime looks for, the extra `gpu` CUDA and cuDNN themselves.
FROM ${CUDA_IMAGE} AS gpu-base
# hadolint ignore=DL3008
RUN apt-get update \
    && apt-get install --yes --no-install-recommends ca-certificates python3 python3-venv \
    && rm -rf /var/lib/apt/lists/*
RUN groupadd --gid 10001 blurline \
    && useradd --uid 10001 --gid 10001 --no-create-home --home-dir /nonexistent blurline

FROM gpu-base AS gpu-build
ENV PIP_NO_CACHE_DIR=1 PIP_DISABLE_PIP_VERSION_CHECK=1
RUN python3 -m venv /opt/blurline
ENV PATH=/opt/blurline/bin:$PATH
WORKDIR /src
COPY deploy/image.py constraints.txt pyproject.toml ./
ARG PIP_INDEX_URL
# `gpu,otel,torch` adds PyTorch and Ultralytics (AGPL-3.0), for `.pt` weights.
ARG EXTRAS=gpu,otel
RUN python image.py requirements worker --extras "${EXTRAS}" > requirements.txt \
    && pip install -c constraints.txt -r requirements.txt
COPY . .
RUN pip install --no-deps -c constraints.txt . \
    && python image.py trim \
    && pip uninstall --yes pip

FROM gpu-base AS worker-gpu
COPY --from=gpu-build /opt/blurline /opt/blurline
COPY --from=models /opt/models /opt/models
ENV PATH=/opt/blurline/bin:$PATH PYTHONUNBUFFERED=1 PYTHONDONTWRITEBYTECODE=1 \
    MODEL_DIR=/opt/models WORKER_METRICS_HOST=0.0.0.0 WORKER_METRICS_PORT=9000
WORKDIR /app
USER 10001:10001
EXPOSE 9000
HEALTHCHECK --interval=10s --timeout=6s --start-period=60s \
    CMD ["python", "-IS", "-c", "import urllib.request; urllib.request.urlopen('http://127.0.0.1:9000/metrics', timeout=5)"]
CMD ["python", "-m", "blurline.entry.worker"]
ARG VERSION=0.1.0
ARG REVISION=unknown
LABEL org.opencontainers.image.title="blurline worker (GPU)" \
      org.opencontainers.image.description="Blurs faces and number plates in queued pictures, then lists the objects that are left" \
      org.opencontainers.image.licenses="MIT AND Apache-2.0 AND BSD-3-Clause AND AGPL-3.0-only AND LGPL-3.0-or-later AND GPL-2.0-or-later" \
      org.opencontainers.image.version="${VERSION}" \
      org.opencontainers.image.revision="${REVISION}"
