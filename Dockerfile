# A server for one export, without PyTorch (the default), or for a run or an export, with PyTorch and CUDA:
#   docker build -t labelwise .
#   docker build -t labelwise:full --target full .
#   docker run --rm -p 8000:8000 -v "$PWD/exported:/model:ro" -e LABELWISE_TOKEN=... labelwise
# Any image with Python 3.10 to 3.13 and its venv serves as BASE. Packages come before the source, so that a changed
# source installs no package again; their versions and hashes are those of the lock.
ARG BASE=python:3.13-slim

FROM ${BASE} AS base
ENV PYTHONUNBUFFERED=1 PYTHONDONTWRITEBYTECODE=1 PATH=/opt/labelwise/bin:$PATH
RUN useradd --create-home --uid 10001 labelwise
EXPOSE 8000
HEALTHCHECK --interval=10s --timeout=3s --start-period=60s \
  CMD ["python", "-c", "import urllib.request as r; r.urlopen('http://127.0.0.1:8000/readyz', timeout=2)"]

FROM ${BASE} AS build
ENV PATH=/opt/labelwise/bin:$PATH PIP_NO_CACHE_DIR=1 PIP_DISABLE_PIP_VERSION_CHECK=1
RUN python3 -m venv /opt/labelwise
WORKDIR /source

FROM build AS build-full
COPY requirements-serve.lock ./
RUN pip install --require-hashes --no-deps -r requirements-serve.lock
COPY pyproject.toml README.md LICENSE ./
COPY src src
RUN pip install --no-deps --no-build-isolation . && pip uninstall --yes --quiet setuptools pip

FROM build AS build-runtime
COPY runtime/requirements.lock ./
RUN pip install --require-hashes --no-deps -r requirements.lock
COPY pyproject.toml ./
COPY src src
COPY runtime runtime
RUN pip install --no-deps --no-build-isolation ./runtime && pip uninstall --yes --quiet setuptools pip

FROM base AS full
COPY --from=build-full /opt/labelwise /opt/labelwise
USER labelwise
ENTRYPOINT ["labelwise", "serve"]
CMD ["/model", "--host", "0.0.0.0"]

FROM base
COPY --from=build-runtime /opt/labelwise /opt/labelwise
USER labelwise
# SIGTERM stops the server after it has answered its requests.
ENTRYPOINT ["labelwise-runtime", "serve"]
CMD ["/model", "--host", "0.0.0.0"]
