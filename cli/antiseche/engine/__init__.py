"""Runs playbooks: Ansible as a subprocess, one file of events, records of what was done.

Callers need `antiseche.engine.playbook_run.run_playbook`, `antiseche.engine.spec.RunSpec` and
`antiseche.engine.summary`.
"""
