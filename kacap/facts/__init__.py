"""What every report says and no row says directly: each fact is one function, with its definition."""
