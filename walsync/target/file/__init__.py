"""Transactions as lines of a file that only grows, for programs that follow it: rotated, and whole after any crash."""
