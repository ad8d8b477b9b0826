"""Code that tests share. No test imports from another test."""
