"""The verbs: one module per stage. Stages take typed values and files and know no flows."""
