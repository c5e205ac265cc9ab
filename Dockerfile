# The image of flannel, for people: `docker build -t flannel .` in a checkout, or podman, or buildah. The first stage runs
# the command that also writes the image as an archive without any of these, so that both have the same files
# (packaging/image/image-files.ts): Debian's by version and checksum, Node and npm's packages as locked.
ARG DEBIAN=debian:trixie-slim
FROM ${DEBIAN} AS files
# Version and date (seconds since 1970) for a build without .git, or without git's history.
ARG VERSION
ARG SOURCE_DATE_EPOCH
RUN command -v npm git >/dev/null || { apt-get update && apt-get install --yes --no-install-recommends ca-certificates git npm; }
WORKDIR /src
COPY . .
RUN CI=true sh scripts/run.sh package image --directory /image ${VERSION:+--version "$VERSION"}

FROM scratch
COPY --from=files /image/ /
LABEL org.opencontainers.image.title="flannel" org.opencontainers.image.licenses="Apache-2.0"
ENV PATH=/opt/bin:/usr/sbin:/usr/bin FLANNEL_NODE=/usr/bin/node
WORKDIR /
ENTRYPOINT ["/opt/bin/flanneld"]
