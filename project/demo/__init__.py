"""`make demo`: the main job from a saved note to its result, with every process real."""
