"""What `benches/run` and `benches/gate` share."""
