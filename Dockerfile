# The image of the service: `docker build -t meetings .`; docs/deploy.md says how to run it.

FROM python:3.13.9-slim-trixie AS build
COPY requirements.txt /tmp/requirements.txt
# The packages are pinned. --only-binary runs no code of a package and needs no compiler.
RUN python -m venv /opt/venv \
    && /opt/venv/bin/pip install --no-cache-dir --disable-pip-version-check --only-binary :all: -r /tmp/requirements.txt \
    && /opt/venv/bin/pip uninstall --yes pip

FROM python:3.13.9-slim-trixie
RUN groupadd --gid 10001 meetings \
    && useradd --uid 10001 --gid 10001 --no-create-home --home-dir /data --shell /usr/sbin/nologin meetings \
    && install -d -o 10001 -g 10001 -m 750 /data
COPY --from=build /opt/venv /opt/venv
COPY . /app
WORKDIR /app
ENV PATH=/opt/venv/bin:$PATH \
    PYTHONDONTWRITEBYTECODE=1 \
    PYTHONUNBUFFERED=1 \
    HOST=0.0.0.0 \
    PORT=8000 \
    STATE_DIR=/data \
    MIGRATE=on
# Numeric, so that Kubernetes can see that it is not root.
USER 10001:10001
VOLUME /data
EXPOSE 8000
HEALTHCHECK --interval=15s --timeout=5s --start-period=60s --retries=3 \
    CMD ["sh", "/app/deploy/ready.sh"]
# The supervisor and the sender of webhooks end within 20 seconds of SIGTERM, requests within 30.
STOPSIGNAL SIGTERM
ENTRYPOINT ["sh", "/app/deploy/start.sh"]
