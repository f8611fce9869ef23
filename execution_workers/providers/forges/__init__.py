"""What is the same at every Git forge: repositories, protections, seeds and bindings as things to
do and to undo, over a small protocol (`host.py`) that each forge has an implementation of.
"""
