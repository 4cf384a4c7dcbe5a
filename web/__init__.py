"""The browser page: its build and its server. web/README.md."""
