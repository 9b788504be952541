"""Machines for rehearsals and tests."""
