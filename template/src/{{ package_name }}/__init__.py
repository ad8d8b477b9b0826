"""The programs of the services."""
