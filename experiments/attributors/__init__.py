"""What `compare_attributors` compares, and how: one line of `methods.METHODS` a row."""
