"""Alembic's entry: migrate on the connection that `migrate.upgrade` brings."""

from alembic import context

context.configure(connection=context.config.attributes["connection"])
context.run_migrations()
