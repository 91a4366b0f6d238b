#!/bin/sh
# Makes this installation's own passwords and keys, once: no two installations share one. Everything
# is written below /secrets, a volume; what is there already stays.
set -eu
umask 022
[ -e /secrets/done ] && exit 0
word() { head -c 24 /dev/urandom | od -An -tx1 | tr -d ' \n'; }
database=$(word) queue=$(word) cache=$(word) access=$(word) secret=$(word)
mkdir -p /secrets/gv /secrets/signing /secrets/sealing /secrets/postgres /secrets/rabbitmq /secrets/redis /secrets/seaweedfs
printf '%s' "$database" >/secrets/postgres/password
printf 'default_user = gv\ndefault_pass = %s\n' "$queue" >/secrets/rabbitmq/50-gv.conf
printf 'requirepass %s\nmaxmemory 256mb\nmaxmemory-policy allkeys-lru\nsave ""\n' "$cache" >/secrets/redis/redis.conf
cat >/secrets/seaweedfs/s3.json <<S3
{"identities": [{"name": "gv", "credentials": [{"accessKey": "$access", "secretKey": "$secret"}],
 "actions": ["Admin", "Read", "List", "Tagging", "Write"]}]}
S3
cat >/secrets/gv/gv.toml <<GV
domain = "localhost"
[database]
url = "postgres://gv:$database@postgres:5432/gv"
[queue]
url = "amqp://gv:$queue@rabbitmq:5672/%2F"
[cache]
url = "redis://:$cache@redis:6379/0"
[blobs]
url = "s3://gv-sites?endpoint=http://seaweedfs:8333&region=us-east-1&path_style=true"
access_key = "$access"
secret_key = "$secret"
[api]
listen = "0.0.0.0:8080"
trusted_proxies = ["10.0.0.0/8", "172.16.0.0/12", "192.168.0.0/16"]
[edge]
listen = "0.0.0.0:8000"
public_scheme = "http"
[ops]
listen = "0.0.0.0:9090"
GV
gv secrets keygen | tr -d '\n' >/secrets/sealing/key
gv config keygen | tr -d '\n' >/secrets/signing/key
touch /secrets/done
