-- maintain_partitions: partitions ahead of the ids.
SELECT belay.maintain_partitions() AS created
