# A GPU worker: `kinora worker --checkpoint /checkpoint`. PyTorch's wheels bring their CUDA libraries, so the base
# needs only what the NVIDIA container runtime looks for; with a plain Python base the same file makes a CPU worker.
ARG BASE=nvidia/cuda:12.8.1-base-ubuntu24.04

FROM ${BASE}
# hadolint ignore=DL3008
RUN python3 -c 'import ensurepip, venv' 2>/dev/null \
 || { apt-get update \
   && apt-get install -y --no-install-recommends python3 python3-venv \
   && rm -rf /var/lib/apt/lists/*; }
RUN useradd --system --uid 10001 --home-dir /var/lib/kinora --create-home kinora

ARG TORCH_INDEX_URL=
WORKDIR /src
COPY pyproject.toml constraints.txt README.md LICENSE ./
# The large, rarely changing part first, so that a change of our code does not install it again.
RUN python3 -m venv /opt/kinora \
 && /opt/kinora/bin/pip install --no-cache-dir --constraint constraints.txt \
      ${TORCH_INDEX_URL:+--extra-index-url "$TORCH_INDEX_URL"} torch
COPY app app
COPY worker worker
COPY model/*.py model/
RUN /opt/kinora/bin/pip install --no-cache-dir --constraint constraints.txt '.[worker]'

ENV PATH=/opt/kinora/bin:$PATH PYTHONUNBUFFERED=1 PYTHONDONTWRITEBYTECODE=1
USER 10001
WORKDIR /var/lib/kinora
ENTRYPOINT ["kinora"]
CMD ["worker", "--checkpoint", "/checkpoint"]
