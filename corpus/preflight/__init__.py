"""Is all there that a run needs?"""
