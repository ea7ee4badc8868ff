"""What lies where in a responses folder."""

TABLE, SYSTEM = "responses.parquet", "system.toml"
