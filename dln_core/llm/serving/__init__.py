"""What the servers of this project have in common: listening, and reading what is asked."""
