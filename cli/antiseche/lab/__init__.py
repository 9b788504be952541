"""Machines for rehearsals and tests: started by the kit, thrown away afterwards."""
