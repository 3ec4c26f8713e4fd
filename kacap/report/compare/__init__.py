"""A second opinion: kacap beside tshark on one capture, and one connection seen from two places.

``labels`` and ``reasons`` hold the tables of the first, ``opinions`` finds the differences; ``place``, ``matching``,
``clocks`` and ``passage`` follow each probe from one capture to the other.
"""
