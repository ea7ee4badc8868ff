"""What tests stand on: servers beyond the machine that speak their protocols, and small corpora."""
