-- Times are microseconds since 1970. Ids and words are text that the program parses on the way out.
-- What is listed in the order of its text is compared by bytes, as SQLite does: COLLATE "C".

CREATE TABLE users (
    id TEXT NOT NULL PRIMARY KEY,
    email TEXT NOT NULL UNIQUE,
    name TEXT,
    password_hash TEXT,
    created_at BIGINT NOT NULL
);

CREATE TABLE tokens (
    id TEXT NOT NULL PRIMARY KEY,
    account TEXT NOT NULL REFERENCES users (id),
    hash TEXT NOT NULL UNIQUE,
    name TEXT COLLATE "C" NOT NULL,
    created_at BIGINT NOT NULL,
    expires_at BIGINT,
    last_used_at BIGINT
);
CREATE INDEX tokens_of_account ON tokens (account, created_at);

CREATE TABLE sessions (
    id TEXT NOT NULL PRIMARY KEY,
    account TEXT NOT NULL REFERENCES users (id),
    created_at BIGINT NOT NULL,
    ended_at BIGINT
);
CREATE INDEX sessions_of_account ON sessions (account);

CREATE TABLE refresh_tokens (
    hash TEXT NOT NULL PRIMARY KEY,
    session TEXT NOT NULL REFERENCES sessions (id) ON DELETE CASCADE,
    expires_at BIGINT NOT NULL,
    used_at BIGINT
);
CREATE INDEX refresh_tokens_of_session ON refresh_tokens (session);

CREATE TABLE projects (
    id TEXT NOT NULL PRIMARY KEY,
    account TEXT NOT NULL REFERENCES users (id),
    name TEXT COLLATE "C" NOT NULL,
    host TEXT NOT NULL,
    repo_url TEXT,
    production_branch TEXT,
    framework TEXT,
    settings TEXT NOT NULL,
    created_at BIGINT NOT NULL,
    UNIQUE (account, name)
);
CREATE INDEX projects_of_repo ON projects (account, repo_url);

CREATE TABLE deployments (
    -- An identity: the number of a deleted deployment is never given again.
    seq BIGINT GENERATED ALWAYS AS IDENTITY PRIMARY KEY,
    id TEXT NOT NULL UNIQUE,
    account TEXT NOT NULL REFERENCES users (id),
    project TEXT NOT NULL REFERENCES projects (id),
    project_name TEXT NOT NULL,
    target TEXT NOT NULL CHECK (target IN ('production', 'preview')),
    repo_url TEXT NOT NULL,
    reference TEXT,
    created_at BIGINT NOT NULL,
    revision BIGINT NOT NULL,
    attempt BIGINT NOT NULL,
    losses BIGINT NOT NULL,
    git_token TEXT,
    settings TEXT NOT NULL,
    env TEXT NOT NULL,
    git_commit TEXT,
    state TEXT NOT NULL CHECK (
        state IN ('queued', 'cloning', 'building', 'uploading', 'ready', 'failed', 'canceled')
    ),
    state_at BIGINT,
    files BIGINT,
    bytes BIGINT,
    failure TEXT,
    reused BOOLEAN NOT NULL,
    started_at BIGINT,
    steps TEXT NOT NULL,
    cancel_requested BOOLEAN NOT NULL DEFAULT FALSE,
    lease_worker TEXT,
    lease_until BIGINT NOT NULL DEFAULT 0,
    announced_at BIGINT NOT NULL DEFAULT 0,
    CHECK ((state = 'queued') = (state_at IS NULL)),
    CHECK ((state = 'ready') = (files IS NOT NULL)),
    CHECK ((state = 'failed') = (failure IS NOT NULL)),
    CHECK (git_token IS NULL OR state IN ('queued', 'cloning', 'building', 'uploading'))
);
CREATE INDEX deployments_of_account ON deployments (account, seq);
CREATE INDEX deployments_of_account_by_state ON deployments (account, state, seq);
CREATE INDEX deployments_of_project ON deployments (project, seq);
CREATE INDEX deployments_unfinished ON deployments (seq)
    WHERE state IN ('queued', 'cloning', 'building', 'uploading');

CREATE TABLE idempotency_keys (
    account TEXT NOT NULL REFERENCES users (id),
    name TEXT COLLATE "C" NOT NULL,
    fingerprint TEXT NOT NULL,
    -- Empty once the deployment was deleted: the key stays taken.
    deployment TEXT REFERENCES deployments (id) ON DELETE SET NULL,
    created_at BIGINT NOT NULL,
    PRIMARY KEY (account, name)
);
CREATE INDEX idempotency_keys_of_deployment ON idempotency_keys (deployment);

-- A row outlives its project, so that the revision goes on counting. Nothing is set to NULL by a
-- foreign key here: emptying a host is a move, and a move has a revision.
CREATE TABLE hosts (
    host TEXT COLLATE "C" NOT NULL PRIMARY KEY,
    kind TEXT NOT NULL CHECK (kind IN ('production', 'branch', 'deployment')),
    project TEXT REFERENCES projects (id),
    account TEXT REFERENCES users (id),
    deployment TEXT REFERENCES deployments (id),
    revision BIGINT NOT NULL,
    as_of BIGINT NOT NULL,
    published BIGINT NOT NULL,
    moved_at BIGINT NOT NULL,
    CHECK (published <= revision),
    CHECK ((project IS NULL) = (account IS NULL)),
    CHECK (deployment IS NULL OR project IS NOT NULL)
);
CREATE INDEX hosts_of_project ON hosts (project);
CREATE INDEX hosts_of_deployment ON hosts (deployment);
CREATE INDEX hosts_unpublished ON hosts (moved_at) WHERE published < revision;
