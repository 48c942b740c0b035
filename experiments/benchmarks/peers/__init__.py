"""What benchmarks measure ours against; each runs on its own as well."""
