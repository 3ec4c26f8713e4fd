"""Collections of captures beyond one machine: files by fsspec, work by Dask, results as Parquet by sensor and day.

``places`` lists the files, ``work`` is what a worker does (decoding a chunk of files, classifying the next one of a
sensor), ``notebook`` remembers what is done, ``run`` drives, ``summary`` tells.
"""
