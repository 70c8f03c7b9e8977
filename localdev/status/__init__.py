"""`./task status`: the whole stack at a glance, asked of the processes themselves, so that it works while half of them are down."""
