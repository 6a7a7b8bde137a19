"""From a model save to an outbox row, in the same transaction."""
