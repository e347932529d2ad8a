"""PostgreSQL: the engine, the embedded server, the migrations."""
