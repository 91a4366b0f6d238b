-- Since when an operator keeps an account out. Only added, so that the release before goes on working
-- beside this one: it reads and writes the other columns, and knows nothing of this one.
ALTER TABLE users ADD COLUMN disabled_at BIGINT;
