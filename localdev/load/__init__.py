"""`./task load`: many tenants' telemetry through the running stack as real clients send it, and whether the pipeline keeps its promises meanwhile.

`profiles` says what is sent, `schedule` when, `requests` makes it, `generator` sends it from a process of its own. Meanwhile `probes` time how soon an
event can be queried, `sightings` when a batch is in its topic, `localdev.chaos.watch` what each process uses. Then every number is looked for in every backend.
`measure` does all that, `verdicts` judges it, `report` and `plots` write it down. `./task soak` is the same for longer, with an eye on memory and descriptors.
"""
