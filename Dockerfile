# The images of portcheck. The classic builder can make them too: no RUN --mount,
# no heredoc, no COPY --chmod.
#
#   docker build -t portcheck .                        with a shell, for CI jobs
#   docker build -t portcheck --target static .        the program alone

# By tag, so that each build takes the newest patch of these lines.
ARG GO_IMAGE=golang:1.26
ARG BUSYBOX_IMAGE=busybox:1.37-musl

# Compiles on the builder's own platform for the target's. The classic builder
# sets neither variable: "linux" is then Linux on its own architecture.
FROM --platform=${BUILDPLATFORM:-linux} ${GO_IMAGE} AS build
WORKDIR /src
COPY go.mod go.sum ./
RUN go mod download
COPY . .
ARG VERSION=
# Without a default, which would override BuildKit's value. The classic builder
# leaves it empty, and Go uses its own architecture.
ARG TARGETARCH
# lib has the executables that are sent to SSH hosts of the other architecture,
# compressed as they are sent.
# The flags are those of .goreleaser.yaml: both build the same bytes.
RUN own=$(GOARCH=${TARGETARCH} go env GOARCH) lib=/out/lib/portcheck && \
    for arch in "$own" amd64 arm64; do \
      [ -e "$lib/portcheck-linux-$arch" ] || \
        CGO_ENABLED=0 GOOS=linux GOARCH=$arch go build -trimpath -buildvcs=false \
          -ldflags "-s -w -buildid= -X github.com/org/portcheck/cli.version=${VERSION}" \
          -o "$lib/portcheck-linux-$arch" . || exit 1; \
    done && \
    mkdir /out/bin && mv "$lib/portcheck-linux-$own" /out/bin/portcheck && \
    gzip -9n "$lib"/portcheck-linux-*
# GitHub runs it at the end of a job, with the arguments of the action (action.yml).
RUN mkdir /post && printf '#!/bin/sh\nexec /usr/local/bin/portcheck action --post\n' >/post/portcheck-post && \
    chmod 755 /post/portcheck-post

FROM scratch AS static
COPY --from=build /out /usr/local
COPY --from=build /etc/ssl/certs/ca-certificates.crt /etc/ssl/certs/ca-certificates.crt
ARG VERSION=
ARG REVISION=
# portcheck.probe is the version of the protocol of `portcheck probe` in this
# image. portcheck starts helpers only from an image with its own version.
LABEL org.opencontainers.image.title="portcheck" \
      org.opencontainers.image.description="Checks whether the TCP and UDP ports of a manifest are free" \
      org.opencontainers.image.source="https://github.com/org/portcheck" \
      org.opencontainers.image.licenses="Apache-2.0" \
      org.opencontainers.image.version="${VERSION}" \
      org.opencontainers.image.revision="${REVISION}" \
      io.github.org.portcheck.probe="4"
CMD ["/usr/local/bin/portcheck"]

# The default. It has a shell, no ENTRYPOINT and no USER, because GitLab runs `sh`
# in it and Jenkins `cat`, as any user. GitHub sets the working directory, so
# there is no WORKDIR.
FROM ${BUSYBOX_IMAGE}
COPY --from=static / /
COPY --from=build /post /usr/local/bin
ARG VERSION=
ARG REVISION=
LABEL org.opencontainers.image.title="portcheck" \
      org.opencontainers.image.description="Checks whether the TCP and UDP ports of a manifest are free" \
      org.opencontainers.image.source="https://github.com/org/portcheck" \
      org.opencontainers.image.licenses="Apache-2.0" \
      org.opencontainers.image.version="${VERSION}" \
      org.opencontainers.image.revision="${REVISION}" \
      io.github.org.portcheck.probe="4"
CMD ["portcheck"]
