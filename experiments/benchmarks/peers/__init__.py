"""Programs of other frameworks, run in environments of their own."""
