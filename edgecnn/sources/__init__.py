"""Where pictures come from: one file is one source, with ``SCHEMES`` and ``open(uri, options) -> Source``.

``SCHEMES`` are the words before the colon of a URI that belong to the source. ``open`` gets the URI without its query,
and the query's options by name; it refuses what cannot work before the first picture is asked for.
"""
