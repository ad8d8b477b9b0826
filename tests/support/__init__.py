"""What the tests share. No test imports from another test."""
