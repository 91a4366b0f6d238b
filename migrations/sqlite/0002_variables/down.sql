DROP TABLE project_variables;
DROP INDEX deployments_of_fingerprint;
ALTER TABLE deployments DROP COLUMN options;
ALTER TABLE deployments DROP COLUMN fingerprint;
ALTER TABLE deployments DROP COLUMN reason;
