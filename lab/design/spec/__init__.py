"""What one run or one sweep is made from."""
