"""`local-consumer`: stands for every application that logs in to a database with what a binding
brings; the embedded default shows with it that rotations go unnoticed.
"""
