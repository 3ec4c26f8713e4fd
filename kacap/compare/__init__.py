"""A second opinion: kacap's kinds and tshark's labels on one capture, and one connection captured at two sites.

``labels`` and ``explanations`` hold the tables of the first, ``label_differences`` finds the differences; ``site``,
``matching``, ``offset`` and ``paths`` follow each probe from one capture to the other.
"""
