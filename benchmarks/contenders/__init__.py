"""Actor libraries, each measured by its public API in a process and an environment of its own."""
