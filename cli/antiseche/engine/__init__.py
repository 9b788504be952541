"""Runs playbooks as a subprocess and reads their events."""
