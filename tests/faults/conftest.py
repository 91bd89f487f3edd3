from tests.engine.conftest import ground, mariadb_ground, sqlite_ground

__all__ = ["ground", "mariadb_ground", "sqlite_ground"]
