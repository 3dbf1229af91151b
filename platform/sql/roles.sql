-- The four roles of a Tambo database, and what each may do in the database this runs in.
--
-- Run once per database as a superuser, after CREATE DATABASE; running it again changes nothing:
--     psql -d tambo -f platform/sql/roles.sql
-- Then give each role a way to log in, for example ALTER ROLE tambo_app PASSWORD '…' or a line in pg_hba.conf.
--
-- tambo_owner   owns the tables. It logs in to migrate and for nothing else. A cell migrates at every start, also when
--               nothing is missing, so do not set it to NOLOGIN while cells may start. Row-level security does not bind
--               an owner (FORCE is not used, because it hangs the online moves of a distributed database).
-- tambo_app     serves requests; bound by row-level security to the environment of its transaction.
-- tambo_worker  takes work and relays events across environments, on the tables granted to it.
-- tambo_ledger  appends to and updates the tables of the ledger.

DO $roles$
DECLARE
    role_name text;
BEGIN
    FOREACH role_name IN ARRAY ARRAY['tambo_owner', 'tambo_app', 'tambo_worker', 'tambo_ledger'] LOOP
        IF NOT EXISTS (SELECT FROM pg_roles WHERE rolname = role_name) THEN
            EXECUTE format('CREATE ROLE %I LOGIN NOSUPERUSER NOCREATEDB NOCREATEROLE NOBYPASSRLS', role_name);
        END IF;
    END LOOP;

    EXECUTE format('REVOKE ALL ON DATABASE %I FROM PUBLIC', current_database());
    EXECUTE format('GRANT CONNECT ON DATABASE %I TO tambo_owner, tambo_app, tambo_worker, tambo_ledger',
                   current_database());
    REVOKE CREATE ON SCHEMA public FROM PUBLIC;
    GRANT USAGE, CREATE ON SCHEMA public TO tambo_owner;
    GRANT USAGE ON SCHEMA public TO tambo_app, tambo_worker, tambo_ledger;
END
$roles$;
