# The debug image of a service: the image of the service, and a layer with debugpy and the hook.
# Compose builds the first as the service has it, and passes it in as `app`.

FROM app AS debug-layer

USER 0
RUN --mount=type=bind,target=/tmp/debug \
    --mount=type=cache,target=/var/cache/debugpy \
    python=$(command -v python3 || find / -xdev -path '*/bin/python3' | head -n 1); \
    if [ -n "$python" ]; then \
      "$python" /tmp/debug/install.py /debug-layer; \
    else \
      echo "There is no Python in this image, hence nothing to debug." && \
      install -D -m 755 /tmp/debug/no-python.sh /debug-layer/usr/local/bin/remora; \
    fi

# User, entry point, command and all else stay those of the service.
FROM app

COPY --from=debug-layer /debug-layer /
