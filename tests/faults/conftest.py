from tests.engine.conftest import ground, server_ground, sqlite_ground

__all__ = ["ground", "server_ground", "sqlite_ground"]
