"""Is it what it says?"""
