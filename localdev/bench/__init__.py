"""`./task bench`: what a request costs, measured on this machine and told as ratios.

`world` is a broker and a database for the measurement alone; `servers` are those under test; `bodies` is what they are sent, `load` how; `rounds` lets two
servers take turns and keeps what each of them used; `report` makes tables of it. Single figures vary with the machine and its other work, ratios hardly do.
"""
