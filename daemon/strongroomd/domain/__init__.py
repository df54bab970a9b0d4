"""Facts and rules of key custody: pure values, no I/O, no clock, no randomness, no logging."""
