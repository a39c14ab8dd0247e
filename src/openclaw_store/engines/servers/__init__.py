"""Database servers as the store's engines. Each module needs its driver, and is imported only when it is asked for."""
