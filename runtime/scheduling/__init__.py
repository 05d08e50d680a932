"""Many callers, one engine: a bounded fair queue, batches across callers, deadlines and cancellation."""
