"""What is a subset? One module each, all of one shape: slots, requests, places, columns, words."""
