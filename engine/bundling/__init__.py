"""A study with its results as one zip that another home takes in: tables, figures, chosen weights and checksums.

``writing`` makes it, ``opening`` checks it, ``restoring`` stores it. Data only: nothing in a bundle is executed or
unpickled, and nothing is stored before all of it has been checked.
"""
