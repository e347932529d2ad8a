"""All SQL of the feed, one module a table. Functions run in the caller's transaction."""
