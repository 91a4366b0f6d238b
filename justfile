# What can be done here
default:
    @just --list --unsorted

# Everything on this machine, and a first site
[group('run')]
demo:
    cargo run --release -- up --demo

# api, worker and edge in one process
[group('run')]
up *ARGS:
    cargo run --release -- up {{ARGS}}

# One api, two workers and two edges on PostgreSQL, RabbitMQ, Redis and S3 of their own
[group('run')]
fleet *COMMAND:
    cargo build
    scripts/with-services scripts/fleet {{COMMAND}}

# Every check and test, on embedded backends and on the real services; with names: only those tests
[group('check')]
test *NAMES:
    scripts/test {{NAMES}}

# The tests on embedded backends alone: the quick round
[group('check')]
quick *ARGS:
    cargo nextest run {{ARGS}}

# Every fuzz target for so many seconds; it fails where one finds something
[group('check')]
fuzz *ARGS:
    scripts/fuzz {{ARGS}}

# The Helm chart, without a cluster
[group('check')]
helm:
    scripts/test-helm

# The image, built and tried without Docker (needs root)
[group('check')]
image:
    scripts/test-image

# compose.yaml, brought up and used on a Docker engine of its own (needs root)
[group('check')]
compose:
    scripts/test-compose

# The same tests on the real services alone, and the faults that only those have
[group('check')]
real *ARGS:
    scripts/with-services cargo nextest run --profile real --test gv {{ARGS}}

# Format, then lint
[group('check')]
lint:
    cargo fmt
    cargo clippy --all-targets -- -D warnings

# Deployments a minute by the number of workers, and submits a second of one api (bench/deploy/README.md)
[group('measure')]
bench-deploy:
    cargo build --release
    scripts/with-services bench/deploy/throughput
    scripts/with-services bench/deploy/submits

# What each operation costs of database, storage, cache and queue (docs/scaling.md)
[group('measure')]
bench-costs:
    cargo build --release
    scripts/with-services bench/deploy/costs

# What an idle `gv up` with ten sites takes of memory
[group('measure')]
bench-memory:
    cargo build --release
    bench/deploy/memory

# One deployment beside `git clone`, and how fast production moves
[group('measure')]
bench-one-deploy *ARGS:
    cargo build --release
    scripts/bench-deploy {{ARGS}}

# Fresh projects of many frameworks, built and looked at in Chromium (docs/builds.md)
[group('measure')]
bench-builds *ARGS:
    cargo build --release
    bench/builds/frameworks {{ARGS}}

# gv's edge beside nginx and caddy (bench/edge/README.md)
[group('measure')]
bench-edge:
    cargo build --release
    bench/edge/compare

# More sites than an edge has memory for
[group('measure')]
bench-many-sites:
    cargo build --release
    bench/edge/many-sites

# The pure rules one at a time: finding a file, opening a manifest, matching rules (bench/micro/README.md)
[group('measure')]
bench-micro *ARGS:
    cd bench/micro && cargo bench --bench rules -- {{ARGS}}

# What a miss costs by the layer that has the file, on real services
[group('measure')]
bench-misses:
    cargo build --release
    scripts/with-services bench/edge/misses

# What visitors notice while Redis or the storage is away
[group('measure')]
bench-outages:
    cargo build --release
    scripts/with-services bench/edge/outages

# The code's documentation, private items too
[group('read')]
docs:
    cargo doc --no-deps --document-private-items --open
