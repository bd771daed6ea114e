-- PostgreSQL makes the first database, Prefect's, by itself. This is the catalog's.
CREATE DATABASE catalog;
\connect prefect
CREATE EXTENSION IF NOT EXISTS pg_trgm;
