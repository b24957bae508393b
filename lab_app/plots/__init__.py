"""pyqtgraph, wrapped: one plot with our axes and colours, figures drawn on it, live curves in bounded arrays.

Imported only by pages that draw, when they are first shown: pyqtgraph costs a quarter of a second.
"""
