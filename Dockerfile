# The service's image: what requirements.lock names, the source, and nothing to install with.

FROM ghcr.io/astral-sh/uv:python3.12-bookworm-slim AS builder
ENV UV_COMPILE_BYTECODE=1 UV_LINK_MODE=copy UV_PYTHON_DOWNLOADS=0
WORKDIR /srv
COPY requirements.lock ./
RUN uv venv .venv && uv pip sync --no-cache --require-hashes requirements.lock
COPY pyproject.toml README.md LICENSE ./
COPY lib lib
RUN uv pip install --no-cache --no-deps .

FROM python:3.12-slim-bookworm
RUN useradd --uid 10001 --no-create-home --shell /usr/sbin/nologin mlsys
WORKDIR /srv
COPY --from=builder /srv/.venv .venv
COPY app app
COPY workers workers
ENV PATH=/srv/.venv/bin:$PATH PYTHONUNBUFFERED=1 PYTHONDONTWRITEBYTECODE=1 PORT=8080
# What a thread no longer needs goes back to the machine: docs/decisions/0014
ENV MALLOC_ARENA_MAX=1 MALLOC_TRIM_THRESHOLD_=131072 ARROW_DEFAULT_MEMORY_POOL=system
USER 10001
EXPOSE 8080
CMD ["python", "-m", "gunicorn", "--config", "python:app.gunicorn_conf", "app:create_app()"]
