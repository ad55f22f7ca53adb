"""What each branch reads of the streams and how it is written to them."""
