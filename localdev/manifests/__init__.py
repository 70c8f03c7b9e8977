"""The platforms' manifests, made of `stack/functions.yml`, `stack/scale.yml` and `stack/redpanda/topics.yml`, so that no fact is written twice.

What is made is checked in, for whoever deploys reads it there and needs nothing of ours; a test says when it isn't current.
"""
