"""The benchmark: what is asked for, its flow, and a part for each paper."""
