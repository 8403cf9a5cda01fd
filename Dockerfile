# docker build -t ckpool .
# docker run -d --name ckpool -p 3333:3333 -v ckpool:/var/lib/ckpool \
#     -v /etc/ckpool/ckpool.conf:/etc/ckpool/ckpool.conf:ro ckpool [options]
# docker exec ckpool ckpmsg users
#
# contrib/docker-compose.yml has all that a pool wants beside it.
FROM golang:1.26.8 AS build
WORKDIR /src
# Modules first: they are downloaded again only when they change.
COPY go.mod go.sum ./
RUN go mod download
# With .git, for the revision in --version.
COPY . .
RUN make build && install -d -m 1777 /root.fs/tmp /root.fs/run/ckpool /root.fs/var/lib/ckpool && \
    install -D -t /root.fs/usr/local/bin bin/ckpool bin/ckdb bin/ckpmsg bin/notifier && \
    install -D -m 644 -t /root.fs/etc/ssl/certs /etc/ssl/certs/ca-certificates.crt

# The programs need nothing but themselves.
FROM scratch
COPY --from=build /root.fs /
ENV PATH=/usr/local/bin
USER 10001:10001
WORKDIR /var/lib/ckpool
VOLUME /var/lib/ckpool
EXPOSE 3333
STOPSIGNAL SIGTERM
HEALTHCHECK CMD ["ckpmsg", "ping"]
ENTRYPOINT ["ckpool", "-q", "-s", "/run/ckpool", "-c", "/etc/ckpool/ckpool.conf"]
