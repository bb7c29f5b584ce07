"""The command line: one module per command; `main` turns errors into exit codes."""
