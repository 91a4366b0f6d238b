# Stands in for redis:7, which bookworm has.
FROM debian:bookworm-slim
RUN apt-get update && apt-get install -y --no-install-recommends gosu redis-server && rm -rf /var/lib/apt/lists/* \
 && mkdir /data && chown redis:redis /data
VOLUME /data
WORKDIR /data
COPY redis-entrypoint /usr/local/bin/docker-entrypoint.sh
EXPOSE 6379
ENTRYPOINT ["docker-entrypoint.sh"]
CMD ["redis-server"]
