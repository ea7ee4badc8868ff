"""The trained system at work: from what was asked, and how it was felt, to what is said."""
