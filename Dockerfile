# The serving image that the endpoint's tasks run (infra/endpoint/task.py):
#
#   docker build --platform linux/amd64 -t "$(pulumi stack output image_repository_url):v1" .
#   docker push "$(pulumi stack output image_repository_url):v1" && pulumi config set tenet:imageTag v1
#
# It holds what serving needs and nothing of the steps before (pyproject.toml's dependencies without extras; tests/test_dockerfile.py).
# On Linux the package index's own torch carries CUDA. For another CUDA, or a small image for a machine without a GPU, name a further index:
#   --build-arg TORCH_INDEX=https://.../whl/cpu
ARG PYTHON=3.11-slim-bookworm
FROM python:${PYTHON}
ARG TORCH_INDEX=""

ENV PIP_DISABLE_PIP_VERSION_CHECK=1 PIP_NO_CACHE_DIR=1 PIP_ROOT_USER_ACTION=ignore \
    PYTHONUNBUFFERED=1 PYTHONDONTWRITEBYTECODE=1 \
    HF_HUB_OFFLINE=1

# The number stands in infra/endpoint/task.py too: the task hands the key file to it.
RUN useradd --uid 10001 --create-home --shell /usr/sbin/nologin tenet
WORKDIR /app

# torch first, in a layer of its own: gigabytes that change with its pin alone.
COPY constraints.txt ./
RUN pip install ${TORCH_INDEX:+--extra-index-url "${TORCH_INDEX}"} --constraint constraints.txt torch

COPY pyproject.toml README.md ./
COPY lightning_modules ./lightning_modules
COPY tenet ./tenet
COPY presets ./presets
# Editable, because presets are looked for beside the packages.
RUN pip install --constraint constraints.txt --editable .

USER 10001:10001
EXPOSE 8080
ENTRYPOINT ["tenet"]
CMD ["serve", "--help"]
