# The service's image: the packages of requirements.lock and the source, without an installer.

FROM ghcr.io/astral-sh/uv:python3.12-bookworm-slim AS builder
ENV UV_COMPILE_BYTECODE=1 UV_LINK_MODE=copy UV_PYTHON_DOWNLOADS=0
WORKDIR /srv
COPY requirements.lock ./
RUN uv venv .venv && uv pip sync --no-cache --require-hashes requirements.lock
# A fifth of the packages is their own tests, headers, and parts of Arrow that nothing imports.
RUN arrow=.venv/lib/python3.12/site-packages/pyarrow && find .venv -type d -name tests -prune -exec rm -r {} + \
    && rm -r $arrow/include $arrow/includes $arrow/libarrow_flight.so* $arrow/libarrow_python_flight.so* \
    $arrow/_flight.* $arrow/libarrow_s3.so* $arrow/_s3fs.*
COPY pyproject.toml README.md LICENSE ./
COPY lib lib
# Apart from the packages, so that their large layer is reused when only the source changes.
RUN uv pip install --no-cache --no-deps --target packages .
COPY app app
COPY workers workers
# Compile now: the image's user cannot write bytecode later.
RUN python -m compileall -q app workers

FROM python:3.12-slim-bookworm
RUN useradd --uid 10001 --no-create-home --shell /usr/sbin/nologin mlsys
WORKDIR /srv
COPY --from=builder /srv/.venv .venv
COPY --from=builder /srv/packages packages
COPY --from=builder /srv/app app
COPY --from=builder /srv/workers workers
ENV PATH=/srv/.venv/bin:$PATH PYTHONPATH=/srv/packages PYTHONUNBUFFERED=1 PYTHONDONTWRITEBYTECODE=1 PORT=8080
# glibc reuses freed memory, and returns the part above 64 MiB at its top: docs/decisions/0014, 0022
ENV MALLOC_ARENA_MAX=1 MALLOC_MMAP_THRESHOLD_=33554432 MALLOC_TRIM_THRESHOLD_=67108864
USER 10001
EXPOSE 8080
CMD ["python", "-m", "gunicorn", "--config", "python:app.gunicorn_conf", "app:create_app()"]
