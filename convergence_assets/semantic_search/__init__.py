"""Semantic search: text, images and code found by meaning and by words, in an index that is an asset like any other.

Data: 214 COCO images with 1,070 captions, CoSQA's 6,267 Python functions with 500 judged web queries, 2,000 Java
methods of CONCODE; or drawn shapes where they are not there. Items arrive on a replay clock, are embedded by encoders
that are assets too, and an index of each day is built beside the live one, judged, and switched to.
"""
