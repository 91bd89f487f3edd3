"""Numbers of server errors that `MySQLdb.constants.ER` has no name for, by the servers' own names without `ER_`."""

DISK_FULL = 1021  # MariaDB and MySQL
NORMAL_SHUTDOWN = 1077  # MariaDB and MySQL
CONNECTION_KILLED = 1927  # MariaDB
LOCK_NOWAIT = 3572  # MySQL
IMPOSSIBLE_STRING_CONVERSION = 3988  # MySQL: a character that the column's character set does not have
CLIENT_INTERACTION_TIMEOUT = 4031  # MySQL: the connection was idle for longer than the server allows
