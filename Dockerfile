# One image for every command of the product: `engage worker`, `engage topics create`, `engage simulate`, ...
#
# The base is pinned by its version tag. A digest (python:3.12.12-slim-bookworm@sha256:...) is stricter still:
# `docker buildx imagetools inspect python:3.12.12-slim-bookworm` prints it; give it with --build-arg PYTHON=...
ARG PYTHON=python:3.12.12-slim-bookworm

FROM ${PYTHON} AS build
WORKDIR /src
ENV PIP_DISABLE_PIP_VERSION_CHECK=1 PIP_NO_CACHE_DIR=1
RUN python3 -m venv /opt/engage
ENV PATH=/opt/engage/bin:$PATH
# The dependencies change less often than the code: a layer of their own. Every file is checked against its hash; nothing is compiled.
COPY requirements.lock ./
RUN pip install --require-hashes --only-binary :all: -r requirements.lock
COPY . .
# Nothing that installs or builds stays in the image.
RUN pip install --no-deps --no-build-isolation . \
 && pip uninstall --yes hatchling editables trove-classifiers pathspec pluggy \
 && pip uninstall --yes pip \
 && mkdir /var/lib/engage

FROM ${PYTHON}
# A number, not a name: Kubernetes' runAsNonRoot wants one.
ARG USER_ID=10001
COPY --from=build /opt/engage /opt/engage
# The one directory that is written to, by the collector: mount a volume there, and it has this owner.
COPY --from=build --chown=10001:10001 /var/lib/engage /var/lib/engage
ENV PATH=/opt/engage/bin:$PATH \
    PYTHONUNBUFFERED=1 \
    PYTHONDONTWRITEBYTECODE=1 \
    ENGAGE_HTTP_HOST=0.0.0.0 \
    ENGAGE_COLLECTOR_HOST=0.0.0.0
WORKDIR /tmp
USER ${USER_ID}:${USER_ID}
EXPOSE 6066
# Beside the collector's spool nothing is written to disk: state is in Kafka, logs go to standard error. Run it with a read-only root and a tmpfs on /tmp.
# /healthz says that the event loop comes round; whether the worker keeps up is /readyz, which is no reason to kill it.
HEALTHCHECK --interval=10s --timeout=5s --start-period=30s --retries=3 \
  CMD ["python3", "-c", "import http.client, os; c = http.client.HTTPConnection('127.0.0.1', int(os.environ.get('ENGAGE_HTTP_PORT', 6066)), timeout=4); c.request('GET', '/healthz'); exit(c.getresponse().status != 200)"]
ENTRYPOINT ["engage"]
CMD ["worker"]
