"""Python as text: the names, types and signatures of the functions that ``dispatch stubs`` writes."""
