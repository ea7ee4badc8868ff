"""What people say of it: verdicts on what a run has, and a blind listening test."""
