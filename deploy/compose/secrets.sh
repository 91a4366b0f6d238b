#!/bin/sh
# Makes this installation's own passwords and keys, once: no two installations share one. They are kept
# in /secrets/kept; what each service sees of them is written anew at each start, into a volume of its own.
#
#   secrets.sh              makes what is missing, and writes for the services
#   secrets.sh outside      prints the configuration of a gv that runs outside, on the services' loopback ports
set -eu
umask 077
kept=/secrets/kept/values

word() { head -c 24 /dev/urandom | od -An -tx1 | tr -d ' \n'; }
base64url() { head -c "$1" /dev/urandom | base64 | tr '+/' '-_' | tr -d '=\n'; }
if [ ! -e $kept ]; then
  {
    for name in database queue cache access secret edge_access edge_secret; do echo "$name=$(word)"; done
    # As `gv config keygen` and `gv secrets keygen` make them.
    echo "signing=gvk1.$(base64url 6).$(base64url 32)"
    echo "sealing=gvs1.$(base64url 6).$(base64url 32)"
  } >$kept.new
  # Nothing begins with half a secret.
  if grep -qE '=$|\.(\.|$)' $kept.new; then echo "there is no randomness to make secrets of" >&2; exit 1; fi
  mv $kept.new $kept
fi
. $kept

# file NAME OWNER MODE: what comes in, in one stroke; nobody reads half of it.
file() {
  cat >"/secrets/$1.new"
  chown "$2" "/secrets/$1.new"
  chmod "$3" "/secrets/$1.new"
  mv "/secrets/$1.new" "/secrets/$1"
}

# hot_and_cold REDIS S3 ACCESS SECRET: what every role stands on.
hot_and_cold() {
  cat <<T
domain = "localhost"
[cache]
url = "redis://:$cache@$1/0"
[blobs]
url = "s3://gv-sites?endpoint=http://$2&region=us-east-1&path_style=true"
access_key = "$3"
secret_key = "$4"
T
}

# truth_and_queue POSTGRES RABBITMQ: what api and worker have beyond that.
truth_and_queue() {
  cat <<T
[database]
url = "postgres://gv:$database@$1/gv"
[queue]
url = "amqp://gv:$queue@$2/%2F"
[secrets]
keys = ["$sealing"]
T
}

# The key that signs people in is the api's alone.
signing_keys() { printf '[auth]\nsigning_keys = ["%s"]\n' "$signing"; }

listening() { printf '[ops]\nlisten = "0.0.0.0:9090"\n'; }

if [ "${1:-}" = outside ]; then
  hot_and_cold "127.0.0.1:$REDIS_PORT" "127.0.0.1:$S3_PORT" "$access" "$secret"
  truth_and_queue "127.0.0.1:$POSTGRES_PORT" "127.0.0.1:$RABBITMQ_PORT"
  signing_keys
  exit 0
fi

# These take off root by themselves, each for a user of its own; nobody else is in their containers.
printf '%s' "$database" | file postgres/password root 444
printf 'default_user = gv\ndefault_pass = %s\n' "$queue" | file rabbitmq/50-gv.conf root 444
printf 'requirepass %s\nmaxmemory 256mb\nmaxmemory-policy allkeys-lru\nsave ""\n' "$cache" | file redis/redis.conf root 444
file seaweedfs/s3.json root 444 <<T
{"identities": [
  {"name": "gv", "credentials": [{"accessKey": "$access", "secretKey": "$secret"}],
   "actions": ["Read:gv-sites", "List:gv-sites", "Write:gv-sites", "Tagging:gv-sites"]},
  {"name": "edge", "credentials": [{"accessKey": "$edge_access", "secretKey": "$edge_secret"}],
   "actions": ["Read:gv-sites", "List:gv-sites"]}
]}
T

# gv's user, by deploy/Dockerfile.
gv=65532:65532
{
  hot_and_cold redis:6379 seaweedfs:8333 "$access" "$secret"
  truth_and_queue postgres:5432 rabbitmq:5672
  signing_keys
  printf '[api]\nlisten = "0.0.0.0:8080"\ntrusted_proxies = ["10.0.0.0/8", "172.16.0.0/12", "192.168.0.0/16"]\n'
  listening
} | file api/gv.toml $gv 400
{
  hot_and_cold redis:6379 seaweedfs:8333 "$access" "$secret"
  truth_and_queue postgres:5432 rabbitmq:5672
  listening
} | file worker/gv.toml $gv 400
{
  hot_and_cold redis:6379 seaweedfs:8333 "$edge_access" "$edge_secret"
  printf '[edge]\nlisten = "0.0.0.0:8000"\n'
  listening
} | file edge/gv.toml $gv 400
