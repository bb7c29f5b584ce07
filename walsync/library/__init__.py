"""walsync as a library: what `import walsync` offers. It has no configuration, no targets and no logs of its own."""
