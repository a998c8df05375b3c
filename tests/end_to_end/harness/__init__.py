"""What the tests need around them: processes, peers, and what was heard."""
