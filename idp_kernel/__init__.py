"""What at least two services need: errors, wire models, outbound HTTP, tokens, telemetry."""
