"""What deployments cost, and how many of them there can be.

`posts` submits as fast as it is answered and keeps count, `sites` makes the repositories that are
deployed, `counters` looks at what services and processes have done between two moments, `places`
starts gv on SQLite alone or as a fleet on real services. Start with ../throughput.
"""
