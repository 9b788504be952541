"""Runs the checks on hosts and collects observations."""
