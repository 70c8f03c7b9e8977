"""`./task chaos`: numbered records go through the running stack while its processes are killed, frozen and blocked in turn; then each backend is read.

`load` sends and keeps sending what wasn't taken, as an agent with a queue does; `harm` does what is done to the stack, `outage` takes one backend away for long
and `watch`es how the sinks bear it; `seen` reads back which numbers each backend has, and `judge` says what is wrong. A number that is missing, there twice, or
in the dead letters without a reason is a defect.
"""
