"""Transactions as lines on stdout, for whatever reads them there; at least once."""
