"""How fast and how good, against named peers; rows are kept in CSV files."""
