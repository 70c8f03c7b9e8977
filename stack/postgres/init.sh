#!/bin/sh
# Run once by PostgreSQL's image, on an empty data folder. The functions' role is no superuser, for whom row security would be void.
set -eu
psql --set ON_ERROR_STOP=1 --set password="$DATABASE_PASSWORD" --username postgres <<'SQL'
CREATE ROLE obstack LOGIN CREATEDB CREATEROLE PASSWORD :'password';
CREATE DATABASE obstack OWNER obstack;
SQL
