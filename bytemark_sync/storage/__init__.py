"""The database: which orders are pending, storing their items, retry after a database error, retention."""
