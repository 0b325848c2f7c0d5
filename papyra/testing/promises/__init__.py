"""What a store promises, one module for each part of it."""
