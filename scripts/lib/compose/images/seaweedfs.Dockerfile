# Stands in for chrislusf/seaweedfs.
FROM debian:trixie-slim
RUN apt-get update && apt-get install -y --no-install-recommends gosu && rm -rf /var/lib/apt/lists/* \
 && groupadd --gid 1000 seaweed && useradd --uid 1000 --gid seaweed seaweed \
 && mkdir -p /data /etc/seaweedfs && chown seaweed:seaweed /data \
 && printf '[leveldb2]\nenabled = true\ndir = "/data/filerldb2"\n' >/etc/seaweedfs/filer.toml
COPY weed /usr/bin/weed
COPY seaweedfs-entrypoint /entrypoint.sh
VOLUME /data
WORKDIR /data
EXPOSE 8333
ENTRYPOINT ["/entrypoint.sh"]
