"""The verbs, in wings by role. Stages take typed values and files and know no flows."""
