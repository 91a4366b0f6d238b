"""gv's edge beside other servers, on this machine's loopback.

`text` writes what the sites say, `sites` lists their files, `folder` lays them out for servers that
read a folder and `deployment` deploys them to gv. `servers` starts what is measured, `cases` says
what is asked for and checks the answers, `load` asks, `processes` looks at who used the CPU, and
`report` has the medians. Start with ../compare.

`fleet` runs gv's roles as processes of their own, `visitor` asks for one thing after another, and
`outage` takes services away: for ../misses and ../outages.
"""
