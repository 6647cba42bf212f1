# A server for one run or export:
#   docker build -t labelwise .
#   docker run --rm -p 8000:8000 -v "$PWD/runs/mine:/model:ro" -e LABELWISE_TOKEN=... labelwise
FROM python:3.11-slim

ENV PYTHONUNBUFFERED=1 PIP_NO_CACHE_DIR=1
RUN useradd --create-home --uid 10001 labelwise
WORKDIR /app
COPY pyproject.toml constraints.txt README.md LICENSE ./
COPY src src
RUN pip install -c constraints.txt '.[serve,onnx,openvino]'

USER labelwise
EXPOSE 8000
HEALTHCHECK --interval=10s --timeout=3s --start-period=60s \
  CMD ["python", "-c", "import urllib.request as r; r.urlopen('http://127.0.0.1:8000/readyz', timeout=2)"]
# The image is told to stop by SIGTERM: requests under way are answered first.
ENTRYPOINT ["labelwise", "serve"]
CMD ["/model", "--host", "0.0.0.0"]
