# Two images from one file: `docker build --target api .` and `docker build --target worker .`
ARG PYTHON_IMAGE=python:3.12-slim

FROM ${PYTHON_IMAGE} AS build
# Another package index than pip's own, for a build behind a mirror. No final image holds it.
ARG PIP_INDEX_URL
ENV PIP_NO_CACHE_DIR=1 PIP_DISABLE_PIP_VERSION_CHECK=1
RUN python -m venv /opt/blurline
ENV PATH=/opt/blurline/bin:$PATH
WORKDIR /src
# The dependencies come first, in a layer of their own, so that a change of code leaves it cached.
COPY constraints.txt pyproject.toml ./
RUN python -c 'import tomllib; print(*tomllib.load(open("pyproject.toml", "rb"))["project"]["dependencies"], sep="\n")' > requirements.txt \
    && pip install -c constraints.txt -r requirements.txt
COPY . .
RUN pip install --no-deps -c constraints.txt .

# The networks' files; the catalogue names each with its hash, and a file that differs ends the build.
FROM build AS models
ARG PIP_INDEX_URL
RUN MODEL_DIR=/opt/models blurline models pull

FROM ${PYTHON_IMAGE} AS runtime
RUN groupadd --gid 10001 blurline \
    && useradd --uid 10001 --gid 10001 --no-create-home --home-dir /nonexistent blurline
COPY --from=build /opt/blurline /opt/blurline
ENV PATH=/opt/blurline/bin:$PATH PYTHONUNBUFFERED=1 PYTHONDONTWRITEBYTECODE=1
# Python looks for modules in the working folder first, so it is one that the user cannot write to.
WORKDIR /app
# By number, so that Kubernetes can see that it is not root.
USER 10001:10001

FROM runtime AS api
# What uvicorn is told below: the API does not start on it unless it is said who may come in.
ENV HOST=0.0.0.0
EXPOSE 8000
HEALTHCHECK --interval=10s --timeout=6s --start-period=10s \
    CMD ["python", "-c", "import urllib.request; urllib.request.urlopen('http://127.0.0.1:8000/health', timeout=5)"]
CMD ["uvicorn", "api_server:app", "--host", "0.0.0.0", "--port", "8000", \
     "--http", "blurline.api.protocol:GuardedProtocol"]

FROM runtime AS worker
COPY --from=models /opt/models /opt/models
ENV MODEL_DIR=/opt/models WORKER_METRICS_PORT=9000
EXPOSE 9000
HEALTHCHECK --interval=10s --timeout=6s --start-period=30s \
    CMD ["python", "-c", "import urllib.request; urllib.request.urlopen('http://127.0.0.1:9000/metrics', timeout=5)"]
# The list form makes Python process 1, so that it is the one that receives SIGTERM.
CMD ["python", "-m", "worker"]
