"""Controls of all roles and their references."""
