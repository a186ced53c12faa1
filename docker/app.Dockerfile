# The API and the courier: `kinora api`, `kinora courier`, `kinora keys …`. Has no PyTorch.
ARG BASE=python:3.11-slim-bookworm

FROM ${BASE} AS build
WORKDIR /src
COPY pyproject.toml constraints.txt README.md LICENSE ./
COPY app app
COPY worker worker
COPY model/*.py model/
RUN python3 -m venv /opt/kinora \
 && /opt/kinora/bin/pip install --no-cache-dir --constraint constraints.txt '.[app]'

FROM ${BASE}
RUN useradd --system --uid 10001 --home-dir /var/lib/kinora --create-home kinora
COPY --from=build /opt/kinora /opt/kinora
ENV PATH=/opt/kinora/bin:$PATH PYTHONUNBUFFERED=1 PYTHONDONTWRITEBYTECODE=1
USER 10001
WORKDIR /var/lib/kinora
EXPOSE 8000
ENTRYPOINT ["kinora"]
CMD ["api"]
