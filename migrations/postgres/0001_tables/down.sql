DROP TABLE hosts;
DROP TABLE idempotency_keys;
DROP TABLE deployments;
DROP TABLE projects;
DROP TABLE refresh_tokens;
DROP TABLE sessions;
DROP TABLE tokens;
DROP TABLE users;
