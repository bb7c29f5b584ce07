"""Cloudflare D1 as a target: JSON parameters into STRICT tables."""
