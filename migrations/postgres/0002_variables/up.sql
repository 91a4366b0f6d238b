-- Only adds: a gv of before goes on working beside one of after, but for deployments that were
-- submitted with variables or a token, which are sealed from here on.

-- Why a deployment was canceled, where no person did it: {"code", "message"}.
ALTER TABLE deployments ADD COLUMN reason TEXT;
-- What its output was made of: the same means the same output.
ALTER TABLE deployments ADD COLUMN fingerprint TEXT;
-- How it was asked for, where that differs from the ordinary.
ALTER TABLE deployments ADD COLUMN options TEXT;
CREATE INDEX deployments_of_fingerprint ON deployments (project, fingerprint, seq)
    WHERE fingerprint IS NOT NULL;

CREATE TABLE project_variables (
    project TEXT NOT NULL REFERENCES projects (id) ON DELETE CASCADE,
    name TEXT COLLATE "C" NOT NULL,
    target TEXT NOT NULL CHECK (target IN ('production', 'preview')),
    -- Sealed (domain/sealing.rs), for every variable.
    value TEXT NOT NULL,
    secret BOOLEAN NOT NULL,
    updated_at BIGINT NOT NULL,
    PRIMARY KEY (project, name, target)
);
