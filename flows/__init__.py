"""The sentences: Prefect flows, the command line and the recipes."""
