"""A second decoder: tshark dissects the frames, and the same SEGMENT rows come out.

The frames come from kacap's own readers, so that files, filters, frame numbers, times and damage are what they are
without tshark; ``Decoder`` stands in the place of ``wire.decode``, and every later stage is one path. File formats
that only tshark knows are turned into pcapng by ``Converted`` on the way in.

tshark is looked for where no other user can write, and pyshark asks it for its version; the process is driven
directly, with ``-T fields``. Measured with
pyshark 0.6, tshark 4.0.17 and Python 3.11 on one core, packets a second: pyshark's XML 220, its JSON and its EK
2,460, JSON of the needed layers alone 4,760 (with ``-e``, for single fields, its JSON and EK parsers fail); fields
26,000, and 20,000 once they are rows. pyshark besides joins the layers of one name, so that the two IP headers of a
tunnel or of an ICMP error can no longer be told apart.
"""
