-- What only a superuser can do for Stoa: the database, and one role and one schema for each service.
-- For psql, connected to any database; may be run again at any time. Passwords are set apart from it.
\set ON_ERROR_STOP on
SET client_min_messages = warning;

SELECT format('CREATE ROLE %I LOGIN', role)
FROM unnest(ARRAY['stoa_auth', 'stoa_posts', 'stoa_chat']) AS role
WHERE NOT EXISTS (SELECT FROM pg_roles WHERE rolname = role)
\gexec

SELECT 'CREATE DATABASE stoa'
WHERE NOT EXISTS (SELECT FROM pg_database WHERE datname = 'stoa')
\gexec

-- Who makes backups (deploy/backup): reads the cluster's files and its WAL over the replication protocol, and can enter no
-- database.
SELECT 'CREATE ROLE stoa_backup LOGIN REPLICATION'
WHERE NOT EXISTS (SELECT FROM pg_roles WHERE rolname = 'stoa_backup')
\gexec

-- A service's role can enter this one database and nothing else.
REVOKE ALL ON DATABASE postgres, template1, stoa FROM PUBLIC;
GRANT CONNECT ON DATABASE stoa TO stoa_auth, stoa_posts, stoa_chat;

\connect stoa
SET client_min_messages = warning;

-- No common ground: each role owns its schema, and what others may read is granted by its owner.
REVOKE ALL ON SCHEMA public FROM PUBLIC;
CREATE SCHEMA IF NOT EXISTS auth AUTHORIZATION stoa_auth;
CREATE SCHEMA IF NOT EXISTS posts AUTHORIZATION stoa_posts;
CREATE SCHEMA IF NOT EXISTS chat AUTHORIZATION stoa_chat;
