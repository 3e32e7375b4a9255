"""What would happen to a request or connection, step by step, each with the resource that decided it.

Pure: it asks the functions that the data plane asks and puts their answers into words; nothing is
decided here. Imports `proxy` and what is below, and the views of `admin`.
"""
