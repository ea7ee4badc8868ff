"""How a trained adapter is handed on."""
