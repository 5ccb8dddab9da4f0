"""The metadata store on SQLAlchemy Core: SQLite and PostgreSQL."""
