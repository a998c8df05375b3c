"""What the tests use to run images and pods."""
