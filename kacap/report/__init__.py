"""Reports: an ``Analysis`` in, something a person or a program reads out.

One contract for all: ``render(analysis, out, **options)`` writes the whole report to ``out`` (text for ``text`` and
``records``, bytes for ``chart``) and computes nothing that another report could not get from the analysis as well.
What is said about a connection in words is said in one place, ``sentences``; numbers become words in ``units``.
"""
