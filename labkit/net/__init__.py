"""The network of the lab: the labkit thread, UDP endpoints, the address plan, the wire and other child processes."""
