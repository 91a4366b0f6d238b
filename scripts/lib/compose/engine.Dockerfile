# Docker's engine and Compose, as Debian has them.
FROM debian:trixie-slim
RUN apt-get update && apt-get install -y --no-install-recommends docker.io docker-cli docker-compose iptables \
 && rm -rf /var/lib/apt/lists/*
