# Delta Lab in a container: for processors, or with --build-arg TORCH=cuda for NVIDIA's accelerators. docs/online.md says how to run it.
ARG PYTHON=3.11

FROM python:${PYTHON}-slim-bookworm AS build
ARG TORCH=cpu
ARG DATA=1
ENV PIP_NO_CACHE_DIR=1 PIP_DISABLE_PIP_VERSION_CHECK=1 PATH=/opt/lab/bin:$PATH
WORKDIR /src
COPY requirements.txt ./
# torch on its own first: for processors its wheels have an index of their own, and those of the usual one are CUDA's on Linux, several GB.
RUN python -m venv /opt/lab \
    && if [ "$TORCH" = cpu ]; then pip install --index-url https://download.pytorch.org/whl/cpu "$(sed -n 's/^\(torch==[^ ]*\).*/\1/p' requirements.txt)"; fi \
    && pip install -r requirements.txt
COPY . .
# The bundled texts are a package of their own, under licences of theirs: --build-arg DATA=0 leaves them out.
RUN pip install --no-deps . && if [ "$DATA" = 1 ]; then pip install --no-deps ./presets/data; fi

FROM python:${PYTHON}-slim-bookworm
COPY --from=build /opt/lab /opt/lab
RUN useradd --create-home --uid 1000 lab && mkdir /data && chown lab:lab /data
USER 1000
WORKDIR /home/lab
# /data is what outlives the container: mount something there. The address is open, so the app asks for LAB_AUTH (or LAB_ANYONE=1) before it starts.
ENV PATH=/opt/lab/bin:$PATH PYTHONUNBUFFERED=1 LAB_HOST=0.0.0.0 LAB_HOME=/data/lab-home HF_HOME=/data/huggingface \
    NVIDIA_VISIBLE_DEVICES=all NVIDIA_DRIVER_CAPABILITIES=compute,utility
EXPOSE 7860
HEALTHCHECK --interval=30s --timeout=10s --start-period=120s --retries=3 \
    CMD ["python", "-c", "import os, urllib.request as r; r.urlopen('http://127.0.0.1:%s/' % (os.environ.get('LAB_PORT') or os.environ.get('PORT') or 7860), timeout=8).read(1)"]
CMD ["delta-lab", "serve"]
