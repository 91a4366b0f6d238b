# Stands in for rabbitmq:4.
FROM debian:trixie-slim
RUN apt-get update && apt-get install -y --no-install-recommends gosu rabbitmq-server && rm -rf /var/lib/apt/lists/* \
 && ln -s /usr/lib/rabbitmq/lib/rabbitmq_server-* /opt/rabbitmq \
 && rm -f /var/lib/rabbitmq/.erlang.cookie /etc/rabbitmq/rabbitmq-env.conf && mkdir -p /etc/rabbitmq/conf.d \
 && printf 'loopback_users.guest = false\nlog.console = true\n' >/etc/rabbitmq/conf.d/10-defaults.conf \
 && chown -R rabbitmq:rabbitmq /etc/rabbitmq /var/lib/rabbitmq /var/log/rabbitmq \
 && chmod 777 /etc/rabbitmq /etc/rabbitmq/conf.d /var/lib/rabbitmq /var/log/rabbitmq
# Not Debian's own commands, which change the user by themselves.
ENV PATH=/opt/rabbitmq/sbin:/usr/local/sbin:/usr/local/bin:/usr/sbin:/usr/bin:/sbin:/bin
ENV HOME=/var/lib/rabbitmq RABBITMQ_LOGS=- LANG=C.UTF-8 RUNNING_UNDER_SYSTEMD=true
VOLUME /var/lib/rabbitmq
COPY rabbitmq-entrypoint /usr/local/bin/docker-entrypoint.sh
EXPOSE 4369 5671 5672 15691 15692 25672
ENTRYPOINT ["docker-entrypoint.sh"]
CMD ["rabbitmq-server"]
