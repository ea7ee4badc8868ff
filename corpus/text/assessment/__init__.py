"""What a text is held to that its words alone do not tell: closeness, a guard, a judge."""
