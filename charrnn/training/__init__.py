"""Training: the step on the device, and the loop, a generator of events."""
